"""The extension vector: creating it, dropping it, and what to do if that fails."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

__all__ = ["NO_FILES", "check", "create", "drop"]

NO_FILES = (
    "The PostgreSQL server has no pgvector files: install pgvector on the server (the package is "
    "often called postgresql-NN-pgvector, NN being the server's major version), then migrate again."
)
NO_OTHER_FILES = (
    "The PostgreSQL server has no files of the extension {extension}, or of one that it needs: "
    "install them on the server, then migrate again."
)
NO_PERMISSION = (
    "This database user may not create or drop the extension {extension}. Ask an administrator to "
    "run CREATE EXTENSION {extension} in the database {database}, then migrate again: where the "
    "extension is present, no permission is needed."
)
IN_USE = (
    "The extension vector cannot be dropped while columns of the database {database} use its "
    "types: migrate the apps that declare vector fields back first."
)
OTHER_IN_USE = (
    "The extension {extension} cannot be dropped while indexes, columns or other extensions of the "
    "database {database} use it: migrate the apps that declare them back first."
)
# By SQLSTATE: feature_not_supported, and undefined_file on older servers; insufficient_privilege;
# dependent_objects_still_exist.
ADVICE = {"0A000": NO_FILES, "58P01": NO_FILES, "42501": NO_PERMISSION, "2BP01": IN_USE}
OTHER_ADVICE = {
    "0A000": NO_OTHER_FILES,
    "58P01": NO_OTHER_FILES,
    "42501": NO_PERMISSION,
    "2BP01": OTHER_IN_USE,
}


def create(schema_editor: BaseDatabaseSchemaEditor, schema: str | None = None) -> None:
    """
    CREATE EXTENSION unless it exists, and ensure that its types can be used.

    Raises ImproperlyConfigured if they could not, or if they would be dropped with a tenant.
    """
    connection = schema_editor.connection
    if schema is None and not schema_editor.collect_sql:
        _refuse_tenants(connection)
    where = f" SCHEMA {schema_editor.quote_name(schema)}" if schema else ""
    _execute(schema_editor, "vector", f"CREATE EXTENSION IF NOT EXISTS vector{where}")
    if not schema_editor.collect_sql:
        _require_type_on_search_path(connection)


def create_other(
    name: str, schema_editor: BaseDatabaseSchemaEditor, schema: str | None = None
) -> None:
    """CREATE EXTENSION of another one, unless it is there, with those that it needs."""
    if schema is None and not schema_editor.collect_sql:
        _refuse_tenants(schema_editor.connection, name)
    quoted = schema_editor.quote_name(name)
    where = f" SCHEMA {schema_editor.quote_name(schema)}" if schema else ""
    _execute(schema_editor, name, f"CREATE EXTENSION IF NOT EXISTS {quoted}{where} CASCADE")


def _refuse_tenants(connection: BaseDatabaseWrapper, name: str = "vector") -> None:
    """An extension in the schema of a tenant is missing for others, and dropped with it."""
    if not _has_tenants(connection) or _installed(connection, name):
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        (schema,) = cursor.fetchone()
    if schema not in (None, "public"):
        given = "" if name == "vector" else f"name={name!r}"
        with_schema = ", ".join([*([given] if given else []), "schema='public'"])
        raise ImproperlyConfigured(
            f"VectorExtension({given}) would install the extension {name} in the schema {schema} "
            "of one tenant, where the others do not find it, and with which it would be dropped: "
            f"write VectorExtension({with_schema})."
        )


def _has_tenants(connection: BaseDatabaseWrapper) -> bool:
    """Whether the backend chooses schemas by itself, as django-tenants and others like it do."""
    return hasattr(connection, "set_schema") and hasattr(connection, "schema_name")


def _installed(connection: BaseDatabaseWrapper, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_extension WHERE extname = %s", [name])
        return bool(cursor.fetchall())


def drop(schema_editor: BaseDatabaseSchemaEditor, name: str = "vector") -> None:
    """DROP EXTENSION if it exists."""
    quoted = name if name == "vector" else schema_editor.quote_name(name)
    _execute(schema_editor, name, f"DROP EXTENSION IF EXISTS {quoted}")


def _execute(schema_editor: BaseDatabaseSchemaEditor, name: str, sql: str) -> None:
    try:
        schema_editor.execute(sql)
    except Error as error:
        # psycopg's name for it, and psycopg2's.
        cause: Any = error.__cause__
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        advice = ADVICE if name == "vector" else OTHER_ADVICE
        if state not in advice:
            raise
        database = schema_editor.connection.settings_dict["NAME"]
        sentence = advice[state].format(extension=name, database=database)
        raise type(error)(sentence) from error


def _require_type_on_search_path(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_regtype('vector'), extnamespace::regnamespace::text, "
            "current_setting('search_path') FROM pg_extension WHERE extname = 'vector'"
        )
        found, schema, search_path = cursor.fetchone()
    if found is None:
        add = (
            f"PG_EXTRA_SEARCH_PATHS = ['{schema}']"
            if _has_tenants(connection)
            else f"OPTIONS = {{'options': '-c search_path=public,{schema}'}}"
        )
        raise ImproperlyConfigured(
            f"The extension vector is installed in the schema {schema}, which is not on the "
            f"search path ({search_path}), so that the type vector does not exist for this "
            f"project. Move it to a schema that is on the search path of the database "
            f"{connection.alias!r}, by ALTER EXTENSION vector SET SCHEMA public, or add its schema "
            f"there: {add}."
        )


# The schema of the extension, where tables are in it too, and the other schemas that need it.
AT_RISK = """
SELECT e.extnamespace::regnamespace::text, string_agg(DISTINCT n.nspname, ', ')
FROM pg_extension e
JOIN pg_type t ON t.typnamespace = e.extnamespace
    AND t.typname IN ('vector', 'halfvec', 'sparsevec', '_vector', '_halfvec', '_sparsevec')
JOIN pg_attribute a ON a.atttypid = t.oid AND NOT a.attisdropped
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.oid <> e.extnamespace
WHERE e.extname = 'vector' AND e.extnamespace::regnamespace::text <> 'public'
    AND EXISTS (SELECT FROM pg_class o WHERE o.relnamespace = e.extnamespace AND o.relkind = 'r')
GROUP BY 1
"""


def check(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    """Whether DROP SCHEMA would take the extension, and with it columns of other schemas."""
    with connection.cursor() as cursor:
        cursor.execute(AT_RISK)
        return [
            Warning(
                f"The extension vector is in the schema {schema} of the database "
                f"{connection.alias!r}: DROP SCHEMA {schema} CASCADE would drop the vector columns "
                f"of other schemas too ({others}).",
                hint="Run ALTER EXTENSION vector SET SCHEMA public, or another schema that stays.",
                id="dorm_vector.W002",
            )
            for schema, others in cursor.fetchall()
        ]
