"""SQL with its parameters: what expressions and engines exchange."""

from __future__ import annotations

from string import Formatter
from typing import Any, NamedTuple

__all__ = ["SQL", "Operand", "fill", "filter_clause"]


class SQL(NamedTuple):
    """A piece of SQL and the parameters of its placeholders."""

    sql: str
    params: tuple[Any, ...] = ()


class Operand(NamedTuple):
    """
    One side of a distance: its SQL, its packed value where that is known in Python, the number of
    its dimensions, where that is known, and its kind.
    """

    sql: str
    params: tuple[Any, ...] = ()
    packed: Any = None
    dimensions: int | None = None
    kind: str = "vector"


def fill(template: str, **parts: SQL | Operand) -> SQL:
    """Put ``parts`` into the ``{name}`` places of ``template``, their parameters in that order."""
    sql: list[str] = []
    params: list[Any] = []
    for literal, name, _, _ in Formatter().parse(template):
        sql.append(literal)
        if name:
            sql.append(parts[name].sql)
            params.extend(parts[name].params)
    return SQL("".join(sql), tuple(params))


def filter_clause(aggregate: Any, compiler: Any) -> SQL:
    """The FILTER clause of an aggregate of Django's, empty where it has no filter."""
    if aggregate.filter is None:
        return SQL("")
    sql, params = compiler.compile(aggregate.filter)
    # Before Django 6.0 it was the condition alone.
    clause = sql if sql.lstrip().startswith("FILTER") else f" FILTER (WHERE {sql})"
    return SQL(clause, tuple(params))
