"""How many rows a search may be asked for."""

from __future__ import annotations

import numbers
from typing import Any

from dorm_vector.values import short

__all__ = ["check_rows"]

# What a LIMIT takes.
MOST_ROWS = 2**63 - 1


def check_rows(caller: str, k: Any) -> None:
    """Raise ValueError unless ``k`` is None or a number of rows."""
    if k is None:
        return
    is_int = isinstance(k, numbers.Integral) and not isinstance(k, bool)
    if not is_int or k < 0:
        raise ValueError(f"{caller}() needs a k of 0 or more rows, not {short(k)}.")
    if k > MOST_ROWS:
        raise ValueError(f"{caller}() needs a k of at most {MOST_ROWS} rows, not {short(k)}.")
