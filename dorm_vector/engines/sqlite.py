"""SQLite with the sqlite-vec extension, through Django's own backend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Warning  # noqa: A004
from django.db import models
from django.db.backends.ddl_references import Statement
from django.db.models.expressions import RawSQL

from dorm_vector import conf
from dorm_vector.engines import sqlite_index
from dorm_vector.engines.base import Engine
from dorm_vector.engines.sqlite_index import MAX_K
from dorm_vector.engines.sqlite_vec import best_tier, load_sqlite_vec_extension

# How EXPLAIN QUERY PLAN names a side table.
VIRTUAL_TABLE = re.compile(r"SCAN (\S+) VIRTUAL TABLE")


class SQLiteEngine(Engine):
    """sqlite-vec's functions over packed float32 in BLOB columns."""

    name = "sqlite"

    column_types = {"vector": "blob"}
    # length() of the four bytes a component, since vec_length() would break INSERT and VACUUM on a
    # connection without the extension; typeof(), because length() of text counts characters.
    column_checks = {
        "vector": "typeof({column}) IN ('blob', 'null') AND length({column}) = 4*{dimensions}"
    }
    # An undefined cosine distance is NULL to sqlite-vec, which would sort first. SQLite stores no
    # NaN, and infinity is its greatest number: CosineDistance reads it as NaN.
    distances = {
        "l2": "vec_distance_l2({a}, {b})",
        "cosine": "COALESCE(vec_distance_cosine({a}, {b}), 9e999)",
        "ip": "COALESCE((vec_distance_cosine({a}, {b}) - 1) * {norm_a} * {norm_b}, 0.0)",
        "l1": "vec_distance_l1({a}, {b})",
    }
    norm_template = "vec_distance_l2({a}, zeroblob(length({a})))"
    guards_null = True
    defined_templates = ("{distance} IS NOT NULL", "{distance} < 9e999")
    # Components may be zeros of either sign; the distance is only asked where the first one is.
    nonzero_template = "(substr({a}, 1, 4) NOT IN (X'00000000', X'00000080') OR {distance} < 9e999)"

    index_methods = frozenset({"vector"})
    index_dimensions = {"vector": sqlite_index.MAX_DIMENSIONS}

    #: How sqlite-vec got into the connection; see ``load_sqlite_vec_extension``.
    tier: str | None = None

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        connection.SchemaEditorClass = sqlite_index.editor_class(connection.SchemaEditorClass)

    def create_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        if self.why_not_built(index, model):
            return self._nothing_built(index, model)
        # An editor that was made before the connection was opened is not one of these yet.
        schema_editor.__class__ = sqlite_index.editor_class(type(schema_editor))
        return sqlite_index.create(index, model, schema_editor)

    def remove_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        if index.method not in self.index_methods:
            return self._nothing_built(index, model)
        schema_editor.__class__ = sqlite_index.editor_class(type(schema_editor))
        return sqlite_index.drop(index, schema_editor)

    def why_not_built(self, index: Any, model: Any) -> str | None:
        if reason := super().why_not_built(index, model):
            return reason
        key, dimensions = model._meta.pk, index.vector_field(model).dimensions
        reasons = {
            f"sqlite-vec has no index for the metric {index.metric!r}": (
                index.metric not in sqlite_index.METRICS
            ),
            f"sqlite-vec indexes {sqlite_index.MAX_DIMENSIONS} dimensions at most": (
                dimensions > sqlite_index.MAX_DIMENSIONS
            ),
            f"sqlite-vec counts rows by integers, and the primary key is a {type(key).__name__}": (
                not isinstance(key, models.IntegerField)
            ),
            "sqlite-vec has no partial index": index.condition is not None,
            "The Python functions that stand in for sqlite-vec have no index": (
                (self.tier or best_tier(conf.get("SQLITE_VEC"))[0]) == "python"
            ),
        }
        return next((reason for reason, applies in reasons.items() if applies), None)

    # Searching

    def plan_search(self, query: Any, nested: bool) -> Any:
        """
        Have the side table name the candidates, where it can: the search stays exact.

        One row more than was asked for shows whether the last ones are at equal distances, of which
        vec0 chooses any.
        """
        index = self._serving_index(query)
        if index is None:
            return query
        whole = query if nested else query.without_max_distance()
        plan = whole.clone()
        plan.whole = whole
        if not nested and "distance" in plan.annotation_select and plan.candidates < MAX_K:
            plan.high_mark += 1
        quote = self.connection.ops.quote_name
        key = f"{quote(plan.get_initial_alias())}.{quote(plan.get_meta().pk.column)}"
        nearest = f"SELECT rowid FROM {quote(index.name)} WHERE vector MATCH %s AND k = %s"  # noqa: S608 - quoted
        params = (plan.query_vector, plan.candidates)
        candidates = RawSQL(f"{key} IN ({nearest})", params, models.BooleanField())  # noqa: S611
        plan.where.add(candidates, "AND")
        return plan

    def run_search(self, compiler: Any, execute: Callable[[], Any]) -> Any:
        """Run a search, and read the whole table where the index cannot tell the last rows."""
        plan, whole = compiler.query, compiler.query.whole
        if whole is None or plan.explain_info:
            return execute()
        wanted = whole.high_mark - whole.low_mark
        rows = [row for chunk in execute() for row in chunk]
        column = compiler.annotation_col_map.get("distance")
        tied = len(rows) > wanted and rows[wanted][column] == rows[wanted - 1][column]
        # Too few are all that there are, or INSERT OR REPLACE has left some behind in the index.
        if tied or len(rows) < wanted:
            compiler.query = whole
            rows = [row for chunk in execute() for row in chunk]
        return [self.in_order(compiler, [rows[:wanted]])]

    def _serving_index(self, query: Any) -> Any:
        if query.search.exact or query.is_filtered or query.query_vector is None:
            return None
        if not 0 < query.candidates <= MAX_K:
            return None
        self.connection.ensure_connection()  # which tells what is loaded, and what is there
        model = query.get_meta().concrete_model
        return next(
            (
                index
                for index in query.search.indexes
                if not self.why_not_built(index, model) and self._is_present(index.name)
            ),
            None,
        )

    def explain_search(self, queryset: Any) -> tuple[str | None, str]:
        plan = queryset.explain()
        return next((name for name in VIRTUAL_TABLE.findall(plan)), None), plan

    def why_unused(self, queryset: Any) -> str:
        search = getattr(queryset.query, "search", None)
        if search is None:
            return "SQLite serves no ORDER BY from an index: use nearest()."
        if search.exact:
            return "exact=True was asked for."
        if queryset.query.is_filtered:
            return "A filter, a join or distinct() makes the search exact."
        if queryset.query.candidates > MAX_K:
            return f"sqlite-vec finds {MAX_K} rows at most; more are searched exactly."
        return "The index is declared, and its table is not there: migrate."

    def _is_present(self, table: str) -> bool:
        """Whether the table is there: the index may be declared, and not migrated yet."""
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.connection.connection.execute(sql, (table,)).fetchone() is not None

    # Connections

    def prepare(self) -> None:
        pinned = conf.get("SQLITE_VEC")
        self.tier = pinned and load_sqlite_vec_extension(self.connection.connection, tier=pinned)

    def check(self) -> list[CheckMessage]:
        tier, reasons = best_tier(conf.get("SQLITE_VEC"))
        return [message(reasons) for name, message in MESSAGES.items() if name == tier]

    def enable(self, schema_editor: Any) -> None:
        """Load sqlite-vec here, and see to it that every later connection loads it too."""
        from dorm_vector.apps import prepare_connections

        prepare_connections()
        self.connection.ensure_connection()
        self.prepare()


CHOSEN = "as DORM_VECTOR['SQLITE_VEC'] says"


def _native(reasons: str) -> CheckMessage:
    return Info(
        f"sqlite-vec is loaded through SQLite's C interface, at full speed ({reasons or CHOSEN}).",
        id="dorm_vector.I001",
    )


def _python(reasons: str) -> CheckMessage:
    return Warning(
        f"Python functions stand in for sqlite-vec, many times slower ({reasons or CHOSEN}).",
        hint="Install dorm-vector[sqlite] on a Python whose SQLite can load extensions.",
        id="dorm_vector.W001",
    )


def _unavailable(reasons: str) -> CheckMessage:
    return Error(
        f"DORM_VECTOR['SQLITE_VEC'] names a way that cannot be gone here: {reasons}",
        id="dorm_vector.E002",
    )


MESSAGES = {"native": _native, "python": _python, "unavailable": _unavailable}
