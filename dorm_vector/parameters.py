"""
Vectors as parameters of queries.

They are bytes or text of thousands of characters, in which a logged query would drown. These
classes show only their beginning where Django logs parameters; the database gets all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dorm_vector import codecs

__all__ = ["abbreviated", "shorten_log"]

# Up to so many bytes or characters are shown in full.
SHOWN = 64
SHOWN_NUMBERS = 4


class _Vector:
    """What bytes and text of vectors have in common."""

    shown: Any

    def __repr__(self) -> str:
        shown = self.shown
        return super().__repr__() if shown is self else repr(shown)


class VectorText(_Vector, str):
    """A vector as text."""

    __slots__ = ()

    @property
    def shown(self) -> str:
        if len(self) <= SHOWN:
            return self
        beginning = self[:SHOWN].rpartition(",")[0] or self[:SHOWN]
        return f"{beginning},... {len(self):,} characters"


class VectorBytes(_Vector, bytes):
    """A vector as bytes in a database's own format."""

    __slots__ = ()

    @property
    def shown(self) -> bytes | str:
        return self if len(self) <= SHOWN else f"{self[:SHOWN].hex()}... {len(self):,} bytes"


class PackedVector(VectorBytes):
    """A vector as packed float32."""

    __slots__ = ()

    @property
    def shown(self) -> bytes | str:
        if len(self) <= SHOWN:
            return self
        beginning = codecs.to_text(codecs.from_packed(self[: 4 * SHOWN_NUMBERS]))
        return f"{beginning[:-1]},... {len(self) // 4:,} numbers"


def abbreviated(parameter: Any, packed: Any) -> Any:
    """The parameter that an engine made of a ``packed`` vector, abbreviated in logs."""
    if type(parameter) is str:
        return VectorText(parameter)
    if type(parameter) is bytes:
        return (PackedVector if parameter is packed else VectorBytes)(parameter)
    return parameter


def shorten_log(connection: Any) -> None:
    """Have the log of a connection's statements show only the beginning of vectors."""
    ops = connection.ops
    if "last_executed_query" in vars(ops):
        return
    original = ops.last_executed_query

    def last_executed_query(cursor: Any, sql: str, params: Any) -> Any:
        given = params.values() if isinstance(params, Mapping) else params or ()
        if not any(isinstance(param, _Vector) for param in given):
            return original(cursor, sql, params)
        statement = original(cursor, sql, _shown(params))
        # Some backends ask the driver instead, which has inserted the parameters into the text.
        for param in given:
            if statement and isinstance(param, VectorText):
                statement = statement.replace(param, param.shown)
        return statement

    ops.last_executed_query = last_executed_query


def _shown(params: Any) -> Any:
    if isinstance(params, Mapping):
        return dict(zip(params, _shown(list(params.values())), strict=True))
    return [param.shown if isinstance(param, _Vector) else param for param in params]
