"""
The vectors in an existing database whose indexes are side tables.

Its columns are blobs: the CHECK of a column tells what it holds. What an index covers is read from
its triggers and its side table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from dorm_vector.engines.base.introspection import (
    EngineIntrospection,
    FoundIndex,
    FoundTextIndex,
    VectorColumn,
)
from dorm_vector.engines.introspection import VectorIntrospection
from dorm_vector.engines.side_tables.schema import SchemaObject, fold

__all__ = ["SideTableIntrospection"]

TRIGGERS = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"
TABLE = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name COLLATE NOCASE = ?"
# The statements of a side table and of its indexes.
PARTS = "SELECT sql FROM sqlite_master WHERE tbl_name COLLATE NOCASE = ? AND sql IS NOT NULL"

INSERT = "_insert"
# What a row's vector has to be for the side table to hold it.
MEASURE = re.compile(r"THEN (\w+)\(")
STORABLE = re.compile(r'WHEN NEW\."((?:[^"]|"")+)" IS NOT NULL\s+THEN (\w+)\(')
PREFIX = re.compile(r', substr\(NEW\."(?:[^"]|"")+", 1, (\d+)\)')
ELEMENT = re.compile(r"USING vec0\(vector (\w+)\[")
GRAPH = re.compile(r"libsql_vector_idx\([^,]+,(.*)\)", re.DOTALL)
# A table of words, and what its trigger puts into it.
FTS5 = re.compile(r"USING fts5\((?P<columns>[^)]*), tokenize='(?P<tokenizer>[^']*)'\)")
TEXTS = re.compile(r"\(rowid, [c\d, ]+\) VALUES \((.*)\); END$", re.DOTALL)
NEW = re.compile(r'NEW\."((?:[^"]|"")+)"')
TOKENIZERS: dict[str, dict[str, Any]] = {"porter": {}, "trigram": {"tokenize": "trigram"}}
NOTE = "The database does not know {unknown} of the text index {name!r}."
OPTION = re.compile(r"'(\w+)=([\w.]+)'")

# How numbers are written in the templates of checks.
PLACES = {"dimensions": "DIMENSIONS", "bytes": "BYTES", "padding": "PADDING"}


class SideTableIntrospection(EngineIntrospection):
    """The part of an engine with side tables that introspects a database."""

    introspection = VectorIntrospection

    column_checks: ClassVar[dict[str, str]]
    index_methods: ClassVar[frozenset[str]]
    names_of: Callable[[str], Any]
    storable: ClassVar[dict[str, str]]

    def vector_columns(self, table: str) -> dict[str, VectorColumn]:
        sql = self._statement(table)
        columns = {}
        for kind, template in self.column_checks.items():
            for match in _check(template).finditer(sql):
                name = match["column"].replace('""', '"')
                columns[name] = VectorColumn(kind, _dimensions(match.groupdict()))
        return columns

    def vector_indexes(self, table: str) -> list[FoundIndex]:
        triggers = self._made_triggers()
        return [
            found
            for trigger in triggers
            if fold(trigger.table) == fold(table)
            and (found := self._index(trigger.name.removesuffix(INSERT), trigger.sql or ""))
        ]

    def found_text_indexes(self, table: str) -> list[FoundTextIndex]:
        return [
            found
            for trigger in self._made_triggers()
            if fold(trigger.table) == fold(table)
            and (found := self._text_index(trigger.name.removesuffix(INSERT), trigger.sql or ""))
        ]

    def _text_index(self, name: str, trigger: str) -> FoundTextIndex | None:
        made, texts = FTS5.search(self._statement(name)), TEXTS.search(trigger)
        if made is None or texts is None:
            return None
        count = made["columns"].count(",") + 1  # before these may be columns of the key
        columns = [each.replace('""', '"') for each in NEW.findall(texts[1])][-count:]
        tokenizer = made["tokenizer"].split()[0]
        options = TOKENIZERS.get(tokenizer, {"language": "simple"})
        unknown = "the weights" if tokenizer in TOKENIZERS else "the weights and the language"
        return FoundTextIndex(name, columns, options, note=NOTE.format(unknown=unknown, name=name))

    def own_tables(self) -> frozenset[str]:
        sides = [trigger.name.removesuffix(INSERT) for trigger in self._made_triggers()]
        endings = {end for method in self.index_methods for end in self.names_of(method).endings}
        return frozenset(sides) | {f"{side}_{end}" for side in sides for end in endings}

    def _index(self, name: str, trigger: str) -> FoundIndex | None:
        metrics = {MEASURE.findall(sql)[0]: metric for metric, sql in self.storable.items()}
        match = STORABLE.search(trigger)
        if match is None or match[2] not in metrics:
            return None
        definition = "\n".join(row[0] for row in self._rows(PARTS, name))
        options: dict[str, Any] = {}
        element, metric = ELEMENT.search(definition), metrics[match[2]]
        if prefix := PREFIX.search(trigger):
            options["prefix"] = int(prefix[1]) // 4
        elif element and element[1] == "bit":
            options["precision"] = "bit"
        elif element and element[1] == "float" and metric == "cosine":  # not what is made now
            options["precision"] = "full"
        options.update(_graph_options(definition))
        column = match[1].replace('""', '"')
        return FoundIndex(name, column, "vector", metric, options, definition=definition)

    def _made_triggers(self) -> list[SchemaObject]:
        """The triggers that fill side tables: one for each."""
        signs = {self.names_of(method).signs.get("insert") for method in self.index_methods}
        rows = [SchemaObject(*row) for row in self._rows(TRIGGERS)]
        return [
            row
            for row in rows
            if row.name.endswith(INSERT)
            for side in [row.name.removesuffix(INSERT)]
            if any(row.is_made(sign and sign.format(index=side)) for sign in signs)
        ]

    def _statement(self, table: str) -> str:
        return "".join(row[0] for row in self._rows(TABLE, table))

    def _rows(self, sql: str, *parameters: str) -> list[Any]:
        self.connection.ensure_connection()
        rows: list[Any] = self.connection.connection.execute(sql, parameters).fetchall()
        return rows


def _graph_options(definition: str) -> dict[str, Any]:
    graph = GRAPH.search(definition)
    found = dict(OPTION.findall(graph[1])) if graph else {}
    found.pop("metric", None)
    return {name: _number(value) for name, value in found.items()}


def _number(text: str) -> Any:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _check(template: str) -> re.Pattern[str]:
    """The pattern of a CHECK that was made from a template, for any column and dimensions."""
    pattern = re.escape(template.format(column="COLUMN", **PLACES))
    pattern = pattern.replace("COLUMN", r'"(?P<column>(?:[^"]|"")+)"', 1)
    pattern = pattern.replace("COLUMN", '"(?P=column)"')
    pattern = pattern.replace(
        "PADDING", r"""(?: AND substr\("(?P=column)", -1\) < X'(?P<less>\w\w)')?"""
    )
    for place in ("DIMENSIONS", "BYTES"):
        pattern = pattern.replace(place, rf"(?P<{place.lower()}>\d+)(?![\d*])")
    return re.compile(pattern)


def _dimensions(parts: dict[str, str | None]) -> int:
    if dimensions := parts.get("dimensions"):
        return int(dimensions)
    whole = 8 * int(parts["bytes"] or 0)
    # The last byte is less than 1 << bits where it has fewer than eight of them.
    less = parts.get("less")
    return whole - 8 + int(less, 16).bit_length() - 1 if less else whole
