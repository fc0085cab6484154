"""Searches as FTS5 takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from dorm_vector.engines.base.text import PartConditions
from dorm_vector.sql import SQL, joined, literal

__all__ = ["found_rows"]

# The limit keeps it a separate query: otherwise FTS5 would be queried for each row.
FOUND = "SELECT rowid AS i, -rank AS r FROM {}(%s, %s) LIMIT -1"
# Parts of words that are too short for the trigram tokenizer.
SHORT = 3
# How often a part occurs in a column.
COUNT = "((LENGTH({column}) - LENGTH(REPLACE({column}, %s, ''))) / LENGTH(%s))"


def found_rows(search: Any, table: str) -> SQL:
    """The numbers ``i`` of the rows of a table of words that match, and their ranks ``r``."""
    query = search.query
    if search.of_parts and any(map(is_short, (*query.wanted, *query.excluded))):
        return Scan(search, table).rows()
    return SQL(FOUND.format(table), (typed(search), bm25(search)))


def typed(search: Any) -> str:
    """A search in FTS5's language. Nothing that a person typed stands outside quotes."""
    query = search.query
    if search.is_any:
        given = units(query.wanted, query.excluded, " OR ")
    else:
        given = " OR ".join(
            units(each.wanted, each.excluded, " AND ") for each in query.alternatives
        )
    return in_fields(search, given)


def in_fields(search: Any, given: str) -> str:
    if search.is_whole:
        return given
    columns = " ".join(f"c{search.index.fields.index(name)}" for name in search.fields)
    return f"{{{columns}}} : ({given})"


def units(wanted: Sequence[Any], excluded: Sequence[Any], operator: str) -> str:
    found = operator.join(map(phrase, wanted))
    left_out = " OR ".join(map(phrase, excluded))
    return f"(({found}) NOT ({left_out}))" if excluded else f"({found})"


def phrase(unit: tuple[str, ...]) -> str:
    return f'"{" ".join(unit)}"'


def bm25(search: Any) -> str:
    """The ranking function, with the weight of a word in each column."""
    return f"bm25({', '.join(map(literal, search.numbers))})"


def is_short(unit: tuple[str, ...]) -> bool:
    return len(unit[0]) < SHORT


def cases(part: str) -> Iterable[str]:
    """A part in lower and upper case, which FTS5 takes for the same."""
    letters = ({each.lower(), each.upper()} for each in part)
    return sorted({"".join(each) for each in product(*letters)})


class Scan(PartConditions):
    """A search with parts of words that are too short for the index, which reads all texts."""

    def __init__(self, search: Any, table: str) -> None:
        self.search, self.table = search, table
        self.columns = {name: f"t.c{search.index.fields.index(name)}" for name in search.fields}

    def rows(self) -> SQL:
        query, condition = self.search.query, self.condition()
        counts = [
            self.count(name, unit[0])
            for unit in query.wanted
            if is_short(unit)
            for name in self.columns
        ]
        long = [unit for unit in query.wanted if not is_short(unit)]
        rank, source = joined("+", [SQL("COALESCE(m.r, 0)"), *counts]), SQL("")
        if long:
            found = FOUND.format(self.table)
            given = in_fields(self.search, units(long, (), " OR "))
            source = SQL(f"LEFT JOIN ({found}) AS m ON m.i = t.rowid", (given, bm25(self.search)))
        else:
            rank = joined("+", counts)
        sql = (
            f"SELECT t.rowid AS i, {rank.sql} AS r FROM {self.table} AS t {source.sql} "  # noqa: S608 - quoted
            f"WHERE {condition.sql} LIMIT -1"
        )
        return SQL(sql, (*rank.params, *source.params, *condition.params))

    def has(self, unit: Any) -> SQL:
        if is_short(unit):
            found = product(self.columns.values(), cases(unit[0]))
            return joined(
                "OR", [SQL(f"instr(COALESCE({sql}, ''), %s) > 0", (part,)) for sql, part in found]
            )
        given = in_fields(self.search, phrase(unit))
        return SQL(f"t.rowid IN (SELECT rowid FROM {self.table}(%s))", (given,))  # noqa: S608 - quoted

    def has_not(self, unit: Any) -> SQL:
        sql, params = self.has(unit)
        return SQL(f"NOT {sql}", params)

    def count(self, name: str, part: str) -> SQL:
        column = f"COALESCE({self.columns[name]}, '')"
        counted = joined(
            "+", [SQL(COUNT.format(column=column), (each, each)) for each in cases(part)]
        )
        weight = literal(self.search.number(name))
        sql = f"{weight} * (({counted.sql} > 0) + {counted.sql} * 1.0 / (1 + {counted.sql}))"
        return SQL(sql, counted.params * 3)
