"""The extension vector: creating it, dropping it, and what to do where that fails."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

__all__ = ["create", "drop"]
_NO_FILES = (
    "The PostgreSQL server has no pgvector files: install pgvector on the server (the package is "
    "often called postgresql-NN-pgvector, NN being the server's major version), then migrate again."
)
# By SQLSTATE: feature_not_supported, and undefined_file on older servers; insufficient_privilege;
# dependent_objects_still_exist.
ADVICE = {
    "0A000": _NO_FILES,
    "58P01": _NO_FILES,
    "42501": (
        "This database user may not create or drop the extension vector. Ask an administrator to "
        "run CREATE EXTENSION vector in the database {database}, then migrate again: where the "
        "extension is present, no permission is needed."
    ),
    "2BP01": (
        "The extension vector cannot be dropped while columns of the database {database} use its "
        "types: migrate the apps that declare vector fields back first."
    ),
}


def create(schema_editor: Any) -> None:
    """CREATE EXTENSION, unless it is there, and see to it that its types can be used."""
    _execute(schema_editor, "CREATE EXTENSION IF NOT EXISTS vector")
    if not schema_editor.collect_sql:
        _require_type_on_search_path(schema_editor.connection)


def drop(schema_editor: Any) -> None:
    """DROP EXTENSION, where it is there."""
    _execute(schema_editor, "DROP EXTENSION IF EXISTS vector")


def _execute(schema_editor: Any, sql: str) -> None:
    try:
        schema_editor.execute(sql)
    except Error as error:
        # psycopg's name for it, and psycopg2's.
        cause: Any = error.__cause__
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if state not in ADVICE:
            raise
        database = schema_editor.connection.settings_dict["NAME"]
        raise type(error)(ADVICE[state].format(database=database)) from error


def _require_type_on_search_path(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_regtype('vector'), extnamespace::regnamespace::text, "
            "current_setting('search_path') FROM pg_extension WHERE extname = 'vector'"
        )
        found, schema, search_path = cursor.fetchone()
    if found is None:
        raise ImproperlyConfigured(
            f"The extension vector is installed in the schema {schema}, which is not on the "
            f"search path ({search_path}), so that the type vector does not exist for this "
            f"project. Add it to the search path of the database "
            f"{connection.alias!r}: OPTIONS = {{'options': "
            f"'-c search_path=public,{schema}'}}."
        )
