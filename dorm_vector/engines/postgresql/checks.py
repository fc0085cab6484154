"""System checks of a PostgreSQL database that ``check --database`` names."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, NamedTuple

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

from dorm_vector import conf
from dorm_vector.engines.postgresql import extension

__all__ = ["check"]

STATE = """
SELECT a.default_version, e.extversion, e.extnamespace::regnamespace::text,
    to_regtype('vector') IS NOT NULL, current_setting('search_path'),
    current_setting('hnsw.iterative_scan', true)
FROM (SELECT) AS one
LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'vector'
LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = 'vector'
"""
# Whether migrations of an app, of those given, are recorded here.
MIGRATED = "SELECT to_regclass('django_migrations') IS NOT NULL"
APPLIED = "SELECT EXISTS (SELECT FROM django_migrations WHERE app = ANY(%s))"

# The release that brought them. Source: https://github.com/pgvector/pgvector, CHANGELOG.md
NEEDED: dict[str, tuple[int, ...]] = {
    "halfvec columns": (0, 7),
    "bit indexes": (0, 7),
    "sparsevec columns": (0, 7),
    "HNSW indexes": (0, 5),
    "scans that go on until enough rows are found": (0, 8),
}
# This release and the one before it fixed bugs that damaged indexes.
SOUND = (0, 8, 3)


class State(NamedTuple):
    """A row of STATE."""

    available: str | None
    version: str | None
    schema: str | None
    is_on_path: bool
    search_path: str
    iterative_scan: str | None


def check(connection: Any, kinds: Set[str], labels: Set[str]) -> list[CheckMessage]:
    """
    Whether pgvector is there, can be found, is new enough, and is set up.

    ``kinds`` are those of the vectors that the database is to hold, and ``labels`` the apps that
    have them.
    """
    with connection.cursor() as cursor:
        cursor.execute(STATE)
        state = State(*cursor.fetchone())
    if state.version is None:
        return list(_missing(connection, state, labels))
    if not state.is_on_path:
        return [_hidden(connection, state)]
    return [
        *_old(connection, state, kinds),
        *_unset(connection, state),
        *extension.check(connection),
    ]


def _missing(connection: Any, state: State, labels: Set[str]) -> Iterator[CheckMessage]:
    if state.available is None:
        yield Error(
            f"The server of the database {connection.alias!r} has no pgvector.",
            hint=extension.NO_FILES,
            id="dorm_vector.E004",
        )
    # Before its first migration a database lacks the extension, like everything else.
    elif _is_migrated(connection, labels):
        yield Warning(
            f"The extension vector is not installed in the database {connection.alias!r}.",
            hint="Run manage.py enable_vectors and migrate, or CREATE EXTENSION vector.",
            id="dorm_vector.W004",
        )


def _is_migrated(connection: Any, labels: Set[str]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(MIGRATED)
        if not cursor.fetchone()[0]:
            return False
        cursor.execute(APPLIED, [sorted(labels)])
        return bool(cursor.fetchone()[0])


def _hidden(connection: Any, state: State) -> CheckMessage:
    return Error(
        f"The extension vector is in the schema {state.schema} of the database "
        f"{connection.alias!r}, which is not on the search path ({state.search_path}).",
        hint="Run ALTER EXTENSION vector SET SCHEMA public, or put its schema on the search path.",
        id="dorm_vector.E005",
    )


def _old(connection: Any, state: State, kinds: Set[str]) -> Iterator[CheckMessage]:
    version = _number(state.version)
    wanted = [
        name
        for name, since in NEEDED.items()
        if version < since and (not name.endswith("columns") or name.split()[0] in kinds)
    ]
    if wanted:
        yield Warning(
            f"pgvector {state.version} of the database {connection.alias!r} has no "
            f"{', '.join(wanted)}.",
            hint=_update(state),
            id="dorm_vector.W005",
        )
    elif min(version, _number(state.available)) < SOUND:
        yield Warning(
            f"pgvector {state.version} of the database {connection.alias!r} has bugs that "
            "damage indexes, which 0.8.3 fixes.",
            hint=_update(state),
            id="dorm_vector.W006",
        )


def _unset(connection: Any, state: State) -> Iterator[CheckMessage]:
    mode = conf.get("ITERATIVE_SCAN")
    if mode and _number(state.version) >= (0, 8) and state.iterative_scan != mode:
        yield Warning(
            f"A session of the database {connection.alias!r} has hnsw.iterative_scan "
            f"{state.iterative_scan or 'off'}, not {mode}: plain slices may come back short.",
            hint="A pooler such as PgBouncer in transaction mode hands sessions around. Search by "
            f"nearest(), or run ALTER ROLE ... SET hnsw.iterative_scan = '{mode}'.",
            id="dorm_vector.W007",
        )


def _update(state: State) -> str:
    """How a newer release gets into the database."""
    if _number(state.available) > _number(state.version):
        return "Run ALTER EXTENSION vector UPDATE."
    return "Install a newer pgvector on the server, then run ALTER EXTENSION vector UPDATE."


def _number(version: str | None) -> tuple[int, ...]:
    """A version as numbers; an unknown one counts as the newest."""
    if version is None:
        return (9999,)
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
