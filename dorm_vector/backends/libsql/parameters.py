"""
Values for the parameters of a statement: what is bound, and the SQL that stands for it.

The client binds integers past 32 bits as floats: they are bound as text that is cast, behind a
plus sign, since a CAST by itself would have text columns compared as numbers. It cuts text at a
NUL character when it reads, and takes NULL for parameters that are missing: both are refused.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dorm_vector.backends.libsql.errors import ProgrammingError
from dorm_vector.backends.libsql.statements import Mark, Statement, replace_marks

__all__ = ["MAX_VARIABLES", "bind", "bind_values"]

#: SQLITE_MAX_VARIABLE_NUMBER, which the client cannot ask for.
MAX_VARIABLES = 32766

WIDE = "(+CAST({} AS INTEGER))"

Params = Sequence[Any] | Mapping[str, Any]


# Types of which every value is bound as it is. Integers may be wide, and text may be cut.
AS_THEY_ARE = frozenset({bytes, float, type(None)})


class Wide(str):
    """An integer past 32 bits, in decimal digits."""

    __slots__ = ()


def bind(sql: str, known: Statement, params: Params) -> tuple[str, tuple[Any, ...]]:
    """The text and the values for the client, which takes plain values by their position."""
    if _are_as_they_are(known, params):
        return sql, tuple(params)
    sql, values = bind_values(sql, known, params)
    wide = {number for number, value in enumerate(values, 1) if type(value) is int and _wide(value)}
    if not wide:
        return sql, values

    def cast(mark: Mark) -> str:
        question = f"?{mark.number}"
        return WIDE.format(question) if mark.number in wide else question

    return replace_marks(sql, cast), tuple(
        [Wide(value) if type(value) is int and _wide(value) else value for value in values]
    )


def _are_as_they_are(known: Statement, params: Params) -> bool:
    return (
        isinstance(params, list | tuple)
        and len(params) == known.size <= MAX_VARIABLES
        and not known.names
        and AS_THEY_ARE.issuperset(map(type, params))
    )


def bind_values(sql: str, known: Statement, params: Params) -> tuple[str, tuple[Any, ...]]:
    """
    The text, with numbers instead of names, and plain values: str, int, float, bytes and None.

    More of them than SQLite takes are written into lists of IN. Raises ProgrammingError where
    there are too few, too many, or others than the statement has.
    """
    given = _named(known, params) if isinstance(params, Mapping) else params
    if len(given) != known.size:
        raise ProgrammingError(
            "Incorrect number of bindings supplied. The current statement uses "
            f"{known.size}, and there are {len(given)} supplied."
        )
    values = tuple([_adapted(value) for value in given])
    if known.names:
        sql = replace_marks(sql, lambda mark: f"?{mark.number}")
    return (sql, values) if len(values) <= MAX_VARIABLES else _written(sql, values)


def _named(known: Statement, params: Mapping[str, Any]) -> list[Any]:
    given = []
    for number in range(1, known.size + 1):
        name = known.names.get(number)
        if name is None:
            raise ProgrammingError(
                f"Binding {number} has no name, and the parameters are a mapping: use :name."
            )
        if name[1:] not in params:
            raise ProgrammingError(f"There is no value for the parameter {name}.")
        given.append(params[name[1:]])
    return given


def _written(sql: str, values: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """
    The values of lists of IN as literals.

    Nowhere else: ORDER BY takes a literal, but not a parameter, for the number of a column.
    """
    bound: list[Any] = []
    numbers: dict[int, int] = {}

    def write(mark: Mark) -> str:
        if mark.is_listed:
            return _literal(values[mark.number - 1])
        if mark.number not in numbers:
            bound.append(values[mark.number - 1])
            numbers[mark.number] = len(bound)
        return f"?{numbers[mark.number]}"

    return replace_marks(sql, write), tuple(bound)


def _literal(value: object) -> str:
    return LITERALS[type(value)](value)


def _float(value: float) -> str:
    if value != value:
        return "NULL"
    return repr(value).replace("inf", "9e999")


LITERALS: dict[type, Callable[[Any], str]] = {
    str: lambda value: "'" + value.replace("'", "''") + "'",
    int: str,
    float: _float,
    bytes: lambda value: f"X'{value.hex()}'",
    type(None): lambda value: "NULL",
}


def _wide(value: int) -> bool:
    return not -(2**31) <= value < 2**31


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"libSQL cuts text at NUL (0x00) characters: {value[:40]!r}.")
    if not value.isascii():
        value.encode()  # raises UnicodeEncodeError for half of a surrogate pair, as sqlite3 does
    return str(value)


def _integer(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"{value} is not a 64-bit integer, the largest that libSQL has.")
    return int(value)


ADAPTERS: dict[type, Callable[[Any], Any]] = {
    str: _text,
    int: _integer,
    float: float,
    bytes: bytes,
    bool: int,
    type(None): lambda value: value,
    bytearray: bytes,
    memoryview: bytes,
}


@functools.lru_cache(maxsize=128)
def _adapter_of_base(given: type) -> Callable[[Any], Any] | None:
    return next((ADAPTERS[base] for base in given.__mro__ if base in ADAPTERS), None)


def _adapted(value: object) -> Any:
    given: Any = type(value)
    adapter = ADAPTERS.get(given) or _adapter_of_base(given)
    if adapter is not None:
        return adapter(value)
    try:
        # The adapters that Django and others have registered for dates, decimals, ...
        adapted = sqlite3.adapt(value, sqlite3.PrepareProtocol)
    except sqlite3.ProgrammingError:
        adapted = value
    if type(adapted) in ADAPTERS:
        return ADAPTERS[type(adapted)](adapted)
    raise ProgrammingError(
        f"libSQL cannot store {value!r}: type {type(value).__name__!r} is not supported."
    )
