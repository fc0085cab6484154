"""SQL with its parameters: what expressions and engines exchange."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from string import Formatter
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "SQL",
    "Compiled",
    "Operand",
    "Plan",
    "fill",
    "filter_clause",
    "joined",
    "literal",
    "word",
]

# Names of settings, options and the like, which are written without quotation marks.
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


#: What ``as_sql()`` gives: SQL and its parameters.
Compiled: TypeAlias = tuple[str, Sequence[Any]]


class SQL(NamedTuple):
    """A piece of SQL and the parameters of its placeholders."""

    sql: str
    params: tuple[Any, ...] = ()


class Operand(NamedTuple):
    """
    One side of a distance: its SQL, its packed value if that is known in Python, its dimensions if
    known, and its kind.
    """

    sql: str
    params: tuple[Any, ...] = ()
    packed: Any = None
    dimensions: int | None = None
    kind: str = "vector"
    #: Whether it contains an aggregate.
    is_aggregate: bool = False


class Plan(NamedTuple):
    """How a query is written: such that an index may serve its search, or that none can."""

    #: The ``dorm_vector.search.query.Search`` that an index may serve, or None.
    search: Any = None
    #: The slice of the rows read that the database is to send, or None for all.
    sent: tuple[int, int] | None = None
    #: The distance by which an index has chosen the rows, to be sent behind each of them, or None.
    coarse: SQL | None = None
    #: The slice to send of the first rows of a block, which is then read in the order of distances
    #: and no further than they need, or None.
    first: tuple[int, int] | None = None
    #: Whether the database sorts them by key where they are equally near.
    by_key: bool = True


def fill(template: str, **parts: SQL | Operand) -> SQL:
    """Fill the ``{name}`` places of ``template`` with ``parts``, and their parameters in order."""
    sql: list[str] = []
    params: list[Any] = []
    for literal, name in _parsed(template):
        sql.append(literal)
        if name:
            sql.append(parts[name].sql)
            params.extend(parts[name].params)
    return SQL("".join(sql), tuple(params))


def joined(operator: str, parts: Iterable[SQL]) -> SQL:
    """Pieces of SQL with an operator between them, in parentheses."""
    pieces = list(parts)
    sql = f" {operator} ".join(piece.sql for piece in pieces)
    return SQL(f"({sql})", tuple(param for piece in pieces for param in piece.params))


@functools.lru_cache(maxsize=512)
def _parsed(template: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((literal, name) for literal, name, _, _ in Formatter().parse(template))


def filter_clause(aggregate: Any, compiler: Any) -> SQL:
    """The FILTER clause of one of Django's aggregates, empty without a filter."""
    if aggregate.filter is None:
        return SQL("")
    sql, params = compiler.compile(aggregate.filter)
    # Before Django 6.0 it was the condition alone.
    clause = sql if sql.lstrip().startswith("FILTER") else f" FILTER (WHERE {sql})"
    return SQL(clause, tuple(params))


def literal(value: int | float | str) -> str:
    """
    A number or a text for SQL that takes no parameters: settings, options, DDL.

    Every value that is written into SQL goes through here. Raises ValueError for what not every
    database, in every configuration, would read the same: NUL, backslashes, NaN and infinity, and
    other types.
    """
    # By their own class's method: subclasses may show themselves in any way.
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    if isinstance(value, float) and math.isfinite(value):
        return float.__repr__(value)
    if isinstance(value, str) and not set("\0\\") & set(value):
        return "'" + str.replace(value, "'", "''") + "'"
    raise ValueError(f"{value!r} cannot be written into SQL as a number or a text.")


def word(name: str) -> str:
    """
    A name that is written into SQL unquoted: of a setting, an option, an operator class.

    Raises ValueError for anything but letters, digits and ``_``, with a dot between two such.
    """
    if isinstance(name, str) and WORD.fullmatch(name):
        return str.__str__(name)
    raise ValueError(f"{name!r} cannot be written into SQL as a name.")
