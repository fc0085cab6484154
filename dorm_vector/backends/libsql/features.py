from __future__ import annotations

from django.conf import settings
from django.db.backends.sqlite3.features import DatabaseFeatures as SQLiteFeatures
from django.utils.functional import cached_property
from django.utils.module_loading import import_string

from dorm_vector.backends.libsql.parameters import MAX_VARIABLES

__all__ = ["DatabaseFeatures"]

# Why tests of Django's own suite do not apply to libSQL. Some exist in some versions only.
SKIPS: dict[str, set[str]] = {
    "The client tells no column types: raw SQL reads dates and times as text.": {
        "schema.tests.SchemaTests.test_add_datefield_and_datetimefield_use_effective_default",
        "timezones.tests.LegacyDatabaseTests.test_cursor_execute_returns_naive_datetime",
        "timezones.tests.NewDatabaseTests.test_cursor_execute_returns_naive_datetime",
    },
    "The client cannot change a connection's limits.": {
        "backends.sqlite.test_features.FeaturesTests.test_max_query_params_respects_variable_limit",
        "backends.sqlite.test_operations.SQLiteOperationsTests."
        "test_bulk_batch_size_respects_variable_limit",
        "backends.sqlite.tests.LastExecutedQueryTest."
        "test_parameter_count_exceeds_variable_or_column_limit",
    },
    "libSQL takes no text in double quotes, which the test's stale model amounts to.": {
        "schema.tests.SchemaTests.test_autofield_to_o2o",
    },
    "Hashes, which libSQL has no functions for, raise NotSupportedError.": {
        f"db_functions.text.test_{name}.{name.upper()}Tests.{test}"
        for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
        for test in ("test_basic", "test_transform")
    },
    "The test counts the names of Django's Python functions in the SQL.": {
        f"db_functions.datetime.test_extract_trunc.{case}.test_extract_year_{lookup}_lookup"
        for case in ("DateFunctionTests", "DateFunctionWithTimeZoneTests")
        for lookup in ("exact", "greaterthan", "lessthan")
    },
    "libSQL has no shell for dbshell to start.": {
        "dbshell.test_sqlite.SqliteDbshellCommandTestCase."
        "test_non_zero_exit_status_when_path_to_db_is_path",
        "dbshell.tests.DbshellCommandTestCase.test_command_missing",
    },
    "The message names libSQL.": {
        "backends.sqlite.test_creation.TestDbSignatureTests."
        "test_get_test_db_clone_settings_not_supported",
        "backends.sqlite.tests.Tests.test_check_database_version_supported",
    },
}


class DatabaseFeatures(SQLiteFeatures):
    """What libSQL can do. It was forked from SQLite 3.45."""

    # Lists of IN may be longer; see ``parameters``.
    max_query_params = MAX_VARIABLES
    supports_aggregate_order_by_clause = True
    supports_uuid7_function = True
    can_return_columns_from_insert = True
    can_return_rows_from_bulk_insert = True
    can_alter_table_drop_column = True
    # The client cuts text there when it reads.
    prohibits_null_characters_in_text_exception = (  # type: ignore[assignment]
        ValueError,
        "libSQL cuts text at NUL (0x00) characters",
    )
    # Regular expressions are those of SQLite's extension regexp.c.
    supports_regex_backreferencing = False

    @cached_property
    def django_test_skips(self) -> dict[str, set[str]]:  # type: ignore[override]
        here = {reason: set(filter(_is_installed, tests)) for reason, tests in SKIPS.items()}
        return {**super().django_test_skips, **here}


def _is_installed(test: str) -> bool:
    """Whether Django's suite is running with the app of ``test``, and has that test."""
    case, _, name = test.rpartition(".")
    if case.split(".")[0] not in settings.INSTALLED_APPS:
        return False
    try:
        return hasattr(import_string(case), name)
    except ImportError:
        return False
