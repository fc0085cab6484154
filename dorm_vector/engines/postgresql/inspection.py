"""The state of vectors and indexes in a PostgreSQL database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.models import Model, Q

from dorm_vector.engines.base.inspection import EngineInspection, IndexState, text_indexes

__all__ = ["PostgreSQLInspection"]

VERSIONS = """
SELECT current_setting('server_version'), e.extversion, a.default_version,
    e.extnamespace::regnamespace::text
FROM (SELECT) AS one
LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'vector'
LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = 'vector'
"""
SETTINGS = (
    "hnsw.ef_search",
    "hnsw.iterative_scan",
    "hnsw.max_scan_tuples",
    "hnsw.scan_mem_multiplier",
    "ivfflat.probes",
    "ivfflat.iterative_scan",
    "ivfflat.max_probes",
    "work_mem",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
)
# The indexes of a table. Those of a partitioned table are as large as those of its partitions.
INDEXES = """
SELECT i.relname, i.oid::regclass::text, am.amname, x.indisvalid, i.relkind = 'I',
    COALESCE(
        (SELECT sum(pg_relation_size(p.relid)) FROM pg_partition_tree(i.oid) AS p),
        pg_relation_size(i.oid)
    )::bigint,
    pg_stat_get_numscans(i.oid), b.phase
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am am ON am.oid = i.relam
LEFT JOIN pg_catalog.pg_stat_progress_create_index b ON b.index_relid = i.oid
WHERE x.indrelid = to_regclass(%s) AND am.amname = ANY(%s)
ORDER BY i.relname
"""
NAMES = """
SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass(%s)
UNION SELECT relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_index ON indexrelid = oid
WHERE indrelid = to_regclass(%s)
"""
# The access method of text indexes.
WORDS = "gin"
# The names that REINDEX CONCURRENTLY gives the index that it makes and the one that it drops.
LEFT_OVER = re.compile(r"(.+)_cc(?:new|old)\d*")


class Row(NamedTuple):
    """A row of INDEXES."""

    name: str
    #: Its name in SQL.
    quoted: str
    method: str
    is_valid: bool
    is_partitioned: bool
    size: int
    uses: int
    #: The phase of a running build.
    phase: str | None


class PostgreSQLInspection(EngineInspection):
    """The part of the engine that inspects vectors and indexes."""

    methods: dict[str, str]
    access_method: Any
    size_template = "pg_column_size({a})"

    def facts(self) -> dict[str, Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(VERSIONS)
            server, installed, available, schema = cursor.fetchone()
            if installed:  # its settings are only known once it is loaded
                cursor.execute(f"SELECT '[1]'::{self.connection.ops.quote_name(schema)}.vector")
            listed = ", ".join("current_setting(%s, true)" for _ in SETTINGS)
            cursor.execute(f"SELECT {listed}", SETTINGS)
            settings = dict(zip(SETTINGS, cursor.fetchone(), strict=True))
        versions = {"PostgreSQL": server, "pgvector": installed or "not installed"}
        if installed and available and available != installed:
            versions["pgvector of the server"] = f"{available}: ALTER EXTENSION vector UPDATE"
        return {
            "versions": versions,
            "settings": {name: value for name, value in settings.items() if value},
        }

    def index_states(self, model: type[Model]) -> list[IndexState]:
        methods = {*self.methods.values()}
        methods.update(
            self.access_method(index) for index in model._meta.indexes if hasattr(index, "metric")
        )
        rows = {row.name: row for row in self._index_rows(model, methods)}
        declared = [index for index in model._meta.indexes if hasattr(index, "metric")]
        names = {index.name for index in declared}
        reindex = self.command(f"vector_reindex {model._meta.label}")
        return [
            *super().index_states(model),
            *(
                self.absent(index, model, self.access_method(index))
                for index in declared
                if index.name not in rows and not self.why_not_built(index, model)
            ),
            *(_state(row, names, reindex) for row in rows.values()),
        ]

    def text_index_states(self, model: Any) -> list[IndexState]:
        indexes = text_indexes(model)
        if not indexes:
            return []
        names = {index.name for index in indexes}
        rows = {
            row.name: row
            for row in self._index_rows(model, {WORDS})
            # The others are the project's own.
            if row.name in names or (LEFT_OVER.sub(r"\1", row.name) in names)
        }
        reindex = self.command(f"vector_reindex {model._meta.label}")
        not_built = [state for state in super().text_index_states(model) if state.name not in rows]
        missing = names - rows.keys() - {state.name for state in not_built}
        return [
            *not_built,
            *(self.absent(index, model, WORDS) for index in indexes if index.name in missing),
            *(_state(row, names, reindex) for row in rows.values()),
        ]

    def _index_rows(self, model: Any, methods: set[str]) -> Iterator[Row]:
        table = self.connection.ops.quote_name(model._meta.db_table)
        with self.connection.cursor() as cursor:
            cursor.execute(INDEXES, [table, sorted(methods)])
            return iter([Row(*row) for row in cursor.fetchall()])

    def names_there(self, model: Any) -> set[str]:
        table = self.connection.ops.quote_name(model._meta.db_table)
        with self.connection.cursor() as cursor:
            cursor.execute(NAMES, [table, table])
            return {name for (name,) in cursor.fetchall()}

    def lacking(self, index: Any, model: type[Model]) -> int | None:
        field = index.fields and model._meta.get_field(index.fields[0])
        if not field:
            return None
        rows = model._base_manager.using(self.connection.alias)
        rows = rows.filter(**{f"{field.name}__isnull": False}).order_by()
        state = next((each for each in self.index_states(model) if each.name == index.name), None)
        if state is None or state.state != "valid":
            return int(rows.count())
        return _outside(rows, index)

    def lacking_words(self, index: Any, model: Any) -> int | None:
        rows = model._base_manager.using(self.connection.alias).order_by()
        states = {state.name: state.state for state in self.text_index_states(model)}
        if states.get(index.name) == "not built":
            return None
        return _outside(rows, index) if states.get(index.name) == "valid" else int(rows.count())


def _outside(rows: Any, index: Any) -> int:
    """How many rows are not those of a partial index."""
    if index.condition is None:
        return 0
    # Rows for which the condition is unknown are not in it either.
    within = rows.filter(index.condition).values("pk")
    return int(rows.filter(~Q(pk__in=within)).count())


def _state(row: Row, declared: set[str], reindex: str) -> IndexState:
    found = IndexState(row.name, row.method, size=row.size, uses=row.uses)
    if row.is_valid:
        return found
    if row.phase:
        return found._replace(state="building", problem=f"It is being built: {row.phase}.")
    match = LEFT_OVER.fullmatch(row.name)
    if match and match[1] in declared and row.name not in declared:
        return found._replace(
            state="left over",
            problem=(
                f"{row.name} was left behind by a REINDEX of {match[1]} that did not finish: it "
                "serves no search, and slows writes down."
            ),
            cure=f"DROP INDEX CONCURRENTLY {row.quoted}",
        )
    if row.is_partitioned:
        return found._replace(
            state="invalid",
            problem=(
                f"{row.name} is INVALID: partitions lack their part of it, so that searches read "
                "all rows of these, or one of them went while it was built."
            ),
            cure=reindex,
        )
    return found._replace(
        state="invalid",
        problem=(
            f"{row.name} is INVALID because its build was cancelled or failed: it serves no "
            "search, and all rows are read."
        ),
        cure=f"REINDEX INDEX CONCURRENTLY {row.quoted}, or {reindex}",
    )
