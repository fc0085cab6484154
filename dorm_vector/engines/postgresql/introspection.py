"""The vectors in an existing PostgreSQL database."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from dorm_vector.engines.base.introspection import (
    EngineIntrospection,
    FoundIndex,
    FoundTextIndex,
    VectorColumn,
)
from dorm_vector.engines.introspection import VectorIntrospection
from dorm_vector.engines.postgresql.text_introspection import TEXT_INDEXES, text_index

__all__ = ["PostgreSQLIntrospection"]

# The dimensions are the type's modifier: -1 if a column takes any.
COLUMNS = """
SELECT a.attname, t.typname, a.atttypmod
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE c.relname = %s AND c.relkind IN ('f', 'm', 'p', 'r', 'v') AND a.attnum > 0
AND pg_catalog.pg_table_is_visible(c.oid)
AND t.typname IN ('vector', 'halfvec', 'sparsevec', 'bit')
ORDER BY a.attnum
"""
INDEXES = """
SELECT i.relname, am.amname, opc.opcname, i.reloptions,
pg_catalog.pg_get_indexdef(x.indexrelid, 1, true), x.indpred IS NOT NULL, x.indnatts,
pg_catalog.pg_get_indexdef(x.indexrelid)
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am am ON am.oid = i.relam
JOIN pg_catalog.pg_opclass opc ON opc.oid = x.indclass[0]
WHERE c.relname = %s AND pg_catalog.pg_table_is_visible(c.oid) AND am.amname = ANY(%s)
ORDER BY i.relname
"""

OPERATOR_CLASS = re.compile(r"(?:vector|halfvec|sparsevec|bit)_(\w+)_ops")
NAME = r'(?P<column>"(?:[^"]|"")+"|\w+)'
# What an index can cover of a column, as PostgreSQL writes it.
EXPRESSIONS: dict[str, tuple[re.Pattern[str], dict[str, Any]]] = {
    "column": (re.compile(NAME), {}),
    "half": (re.compile(rf"\(?{NAME}::halfvec\(\d+\)\)?"), {"precision": "half"}),
    "bit": (
        re.compile(rf"\(?binary_quantize\({NAME}\)(?:::bit varying)?::bit\(\d+\)\)?"),
        {"precision": "bit"},
    ),
    "prefix": (
        re.compile(rf"\(?subvector\({NAME}, 1, (?P<prefix>\d+)\)::\w+\(\d+\)\)?"),
        {},
    ),
}


class IndexRow(NamedTuple):
    """A row of INDEXES."""

    name: str
    method: str
    operator_class: str
    parameters: list[str] | None
    expression: str
    partial: bool
    columns: int
    definition: str


class PostgreSQLIntrospection(EngineIntrospection):
    """The part of the engine that introspects a database."""

    introspection = VectorIntrospection
    methods: dict[str, str]

    def vector_columns(self, table: str) -> dict[str, VectorColumn]:
        return {
            name: VectorColumn(kind, dimensions if dimensions > 0 else None)
            for name, kind, dimensions in self._rows(COLUMNS, table)
        }

    def vector_indexes(self, table: str) -> list[FoundIndex]:
        methods = sorted(set(self.methods.values()))
        return [
            found
            for row in self._rows(INDEXES, table, methods)
            if (found := _index(IndexRow(*row)))
        ]

    def found_text_indexes(self, table: str) -> list[FoundTextIndex]:
        found = (text_index(*row) for row in self._rows(TEXT_INDEXES, table))
        return [each for each in found if each]

    def _rows(self, sql: str, *parameters: object) -> list[Any]:
        # The driver's own cursor, so that the queries that projects count and log do not change.
        connection = self.connection
        connection.ensure_connection()
        with connection.wrap_database_errors, connection.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[Any] = cursor.fetchall()
        return rows


def _index(row: IndexRow) -> FoundIndex | None:
    metric = OPERATOR_CLASS.fullmatch(row.operator_class)
    if metric is None:
        return None
    column, options = _over(row.expression)
    given = dict(text.split("=", 1) for text in row.parameters or ())
    options.update({name: int(value) for name, value in given.items() if value.isdecimal()})
    gap = None
    if column is None or row.columns > 1:
        gap = f"is over {row.expression}"
    elif row.partial:
        gap = "is partial"
    name = "cosine" if options.get("precision") == "bit" else metric[1]
    return FoundIndex(row.name, column or "", row.method, name, options, gap, row.definition)


def _over(expression: str) -> tuple[str | None, dict[str, Any]]:
    """The column of an index, and how it is reduced, as options."""
    for pattern, options in EXPRESSIONS.values():
        if match := pattern.fullmatch(expression):
            parts = match.groupdict()
            prefix = {"prefix": int(parts["prefix"])} if parts.get("prefix") else {}
            return _unquoted(parts["column"]), {**options, **prefix}
    return None, {}


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
