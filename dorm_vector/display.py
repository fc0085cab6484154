"""Vectors as people read them: the first numbers, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgvector import SparseVector

__all__ = ["brief"]

# Up to so many components are shown; of longer vectors, the first few.
WHOLE = 4
FIRST = 2
# The same of bits.
WHOLE_BITS = 32
FIRST_BITS = 16


def brief(value: object) -> str:
    """
    A vector, abbreviated: ``[0.01, -0.2, ... 384]``, where 384 is the number of its components.

    Takes what vector fields read, arrays of vectors among them: lists, numpy arrays, text of bits,
    pgvector's SparseVector. NULL is "", and anything else its ``str()``.
    """
    if value is None:
        return ""
    if isinstance(value, SparseVector):
        return _brief_sparse(value)
    if isinstance(value, str):
        return value if len(value) <= WHOLE_BITS else f"{value[:FIRST_BITS]}... {len(value)}"
    if hasattr(value, "tolist"):
        return _brief_array(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return _listed([_component(each) for each in value[: WHOLE + 1]], len(value))
    return str(value)


def _brief_array(value: Any) -> str:
    shown = value[: WHOLE_BITS + 1].tolist()
    if shown and isinstance(shown[0], bool):
        bits = "".join("1" if bit else "0" for bit in shown)
        return bits if len(value) <= WHOLE_BITS else f"{bits[:FIRST_BITS]}... {len(value)}"
    return _listed([_component(each) for each in shown[: WHOLE + 1]], len(value))


def _brief_sparse(value: SparseVector) -> str:
    pairs = [
        f"{index + 1}: {number:.3g}"  # as SQL counts them
        for index, number in zip(value.indices()[:FIRST], value.values()[:FIRST], strict=True)
    ]
    return f"{{{', '.join([*pairs, '...'])} {value.dimensions()}}}"


def _listed(shown: list[str], count: int) -> str:
    if count <= WHOLE:
        return f"[{', '.join(shown)}]"
    return f"[{', '.join([*shown[:FIRST], '...'])} {count}]"


def _component(each: Any) -> str:
    return f"{each:.3g}" if isinstance(each, int | float) else brief(each)
