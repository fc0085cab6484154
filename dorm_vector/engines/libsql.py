"""libSQL, with its own vectors and its own index, DiskANN."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from dorm_vector.engines.base import SQL
from dorm_vector.engines.side_table import WATCHED, SideTableEngine

__all__ = ["LibSQLEngine"]

# What the cosine distance is where it is undefined: the greatest finite number, since a server
# cannot send infinity.
UNDEFINED = "1.7976931348623157e308"

# A few of a vector's bytes, by which it is found: the first and the last four components.
KEY = "substr({vector}, 1, 16) || substr({vector}, -16)"
COLUMN_KEY = KEY.format(vector="%(column)s")
NEW_KEY = KEY.format(vector="NEW.%(column)s")
OWN_KEY = KEY.format(vector="vector")

# The graph loses rows where vectors are equal, where rows are deleted, and where vectors change.
# So it is over a table of its own, in which each vector that was ever there stands once; rows are
# found by their vectors. It is created empty: on a server, CREATE INDEX does not see the rows that
# are there.
DROP = (
    "DROP TRIGGER IF EXISTS %(insert)s",
    "DROP TRIGGER IF EXISTS %(update)s",
    "DROP INDEX IF EXISTS %(rows)s",
    "DROP TABLE IF EXISTS %(index)s",
)
ADD = (
    "INSERT INTO %(index)s (vector) "  # noqa: S608 - quoted
    "SELECT NEW.%(column)s WHERE %(storable_new)s AND NOT EXISTS "
    f"(SELECT 1 FROM %(index)s WHERE {OWN_KEY} = {NEW_KEY} AND vector = NEW.%(column)s)"
)
CREATE = (
    *DROP,
    "CREATE TABLE %(index)s (id INTEGER PRIMARY KEY, vector F32_BLOB(%(dimensions)s) NOT NULL)",
    f"CREATE INDEX %(vectors)s ON %(index)s ({OWN_KEY})",
    "CREATE INDEX %(graph)s ON %(index)s (libsql_vector_idx(vector, %(parameters)s))",
    f"CREATE INDEX %(rows)s ON %(table)s ({COLUMN_KEY})",
    "INSERT INTO %(index)s (vector) SELECT DISTINCT %(column)s FROM %(table)s WHERE %(storable)s",
    f"CREATE TRIGGER %(insert)s AFTER INSERT ON %(table)s BEGIN {ADD}; END",
    f"CREATE TRIGGER %(update)s AFTER UPDATE{WATCHED} ON %(table)s BEGIN {ADD}; END",
)

# The graph's parameters where the index has no others; docs/performance.rst has the measurements.
# Uncompressed edges are large, and alpha above 1 leaves vectors out that are close to others.
PARAMETERS = {"max_neighbors": 20, "compress_neighbors": "float8", "alpha": 1.0}
# libSQL's own, and the number of candidates of a search.
SEARCH_L = 200
LEAST_CANDIDATES = 40
# With fewer vectors reading all rows is as fast, and finds what a graph may have lost: some vectors
# cannot be reached in it from where a search happens to begin.
LEAST_VECTORS = 1000

NAME = re.compile(r"[A-Za-z_]\w*", re.A)


class LibSQLEngine(SideTableEngine):
    """libSQL's vector functions over packed float32."""

    name = "libsql"

    column_types = {"vector": "F32_BLOB({dimensions})"}
    # The column's type checks nothing.
    column_checks = {
        "vector": "typeof({column}) IN ('blob', 'null') AND length({column}) = 4*{dimensions}"
    }
    # An undefined cosine distance is NULL to libSQL, which would sort first.
    distances = {
        "l2": "vector_distance_l2({a}, {b})",
        "cosine": f"COALESCE(vector_distance_cos({{a}}, {{b}}), {UNDEFINED})",
        "ip": "COALESCE((vector_distance_cos({a}, {b}) - 1) * {norm_a} * {norm_b}, 0.0)",
    }
    alternatives = {"l1": "Use L2Distance, or another database."}
    norm_template = "vector_distance_l2({a}, zeroblob(length({a})))"
    guards_null = True
    defined_templates = ("{distance} IS NOT NULL", f"{{distance}} < {UNDEFINED}")
    nonzero_template = (
        f"(substr({{a}}, 1, 4) NOT IN (X'00000000', X'00000080') OR {{distance}} < {UNDEFINED})"
    )

    create_templates = CREATE
    drop_templates = DROP
    suffixes = ("graph", "insert", "rows", "update", "vectors")
    storable = {
        "l2": "{row}%(column)s IS NOT NULL",
        "cosine": (
            "CASE WHEN {row}%(column)s IS NOT NULL "
            "THEN vector_distance_cos({row}%(column)s, {row}%(column)s) END IS NOT NULL"
        ),
    }
    index_dimensions = {"vector": 65_536}
    maker = "libSQL"
    too_many = "libSQL finds search_l rows at most, 200 by default; more are searched exactly."
    too_few = f"With fewer than {LEAST_VECTORS:,} vectors libSQL reads all rows: it is as fast."

    #: The number of vectors from which on the graph is searched.
    least_vectors: ClassVar[int] = LEAST_VECTORS

    # Building

    def why_not_built(self, index: Any, model: Any) -> str | None:
        if reason := super().why_not_built(index, model):
            return reason
        if not NAME.fullmatch(index.name):
            return f"libSQL takes no index name but of letters, digits and _, not {index.name!r}"
        return None

    def _parts(self, index: Any, model: Any, schema_editor: Any) -> dict[str, Any]:
        given = {**PARAMETERS, **index.graph_parameters()}
        metric = {"l2": "l2", "cosine": "cosine"}[index.metric]
        parameters = ", ".join(
            f"'{name}={value}'" for name, value in {"metric": metric, **given}.items()
        )
        return {**super()._parts(index, model, schema_editor), "parameters": parameters}

    # Searching

    def plan_search(self, query: Any, nested: bool) -> Any:
        # Nobody could notice that an approximate search came back short within another query.
        return query if nested else super().plan_search(query, nested)

    def can_find(self, index: Any, query: Any) -> bool:
        # A search for the zero vector returns arbitrary rows.
        return 0 < query.candidates <= self._search_l(index) and any(query.query_vector)

    def is_ready(self, table: str) -> bool:
        # Nothing is ever deleted there, so that the numbers have no gaps.
        sql = f"SELECT 1 FROM {self.connection.ops.quote_name(table)} WHERE id = ?"  # noqa: S608 - quoted
        try:
            found = self.connection.connection.execute(sql, (self.least_vectors,)).fetchone()
        except self.connection.Database.Error:
            if self._is_present(table):
                raise
            return False
        return found is not None

    def candidates(self, index: Any, query: Any) -> SQL:
        """
        The rows with one of the vectors that the graph finds, and those with the one searched for.

        More of them than rows are wanted: some may be of rows that are no longer there, and
        the graph ranks by rounded neighbours.
        """
        quote = self.connection.ops.quote_name
        column = query.annotations["distance"].get_source_expressions()[0].target.column
        row = KEY.format(vector=f"{quote(query.get_initial_alias())}.{quote(column)}")
        found = "SELECT id FROM vector_top_k(%s, %s, %s)"
        keys = f"SELECT {OWN_KEY} FROM {quote(index.name)} WHERE id IN ({found})"  # noqa: S608 - quoted
        sql = f"{row} IN ({keys} UNION ALL SELECT {KEY.format(vector='%s')})"
        wanted = query.search.params.get("ef_search") or max(4 * query.candidates, LEAST_CANDIDATES)
        k = max(min(wanted, self._search_l(index)), query.candidates)
        vector = query.query_vector
        return SQL(sql, (f"{index.name}_graph", vector, k, vector, vector))

    def _search_l(self, index: Any) -> int:
        return int(index.graph_parameters().get("search_l", SEARCH_L))

    def explain_search(self, queryset: Any) -> tuple[str | None, str]:
        plan = queryset.explain()
        if "vector_top_k" not in plan:
            return None, plan
        return self.serving_index(queryset.query).name, plan
