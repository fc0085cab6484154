"""Values in a form that can be compared, and what two of them differ in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from django.db.models import Model, QuerySet

__all__ = ["UNCOMPARED", "difference", "normal", "pool_difference", "rough_difference"]

TOLERANCE = 3e-5
# What other searches annotate, which their own fuzzers look after.
UNCOMPARED = ("words", "fused", "fused_ranks")


def normal(value: Any) -> Any:
    """Tuples, dictionaries and scalars, whatever was made of rows."""
    if isinstance(value, Model):
        return _normal_model(value)
    if isinstance(value, dict):
        return {str(key): normal(item) for key, item in value.items()}
    if isinstance(value, QuerySet | Iterator | list | tuple | np.ndarray):
        return tuple(normal(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def _normal_model(value: Model) -> Any:
    names = [name for name in vars(value) if name[0] != "_" and name not in UNCOMPARED]
    fields = {name: normal(vars(value)[name]) for name in names}
    cached = value._state.fields_cache
    related = {f"{name}>": item and item.pk for name, item in cached.items()}
    prefetched = getattr(value, "_prefetched_objects_cache", {})
    # Their order is that of the search, or none.
    lists = {
        f"{name}*": tuple(row.pk for row in (rows if rows.query.order_by else sorted_by_key(rows)))
        for name, rows in prefetched.items()
    }
    return {"": type(value).__name__, **fields, **related, **lists}


def sorted_by_key(rows: Any) -> list[Any]:
    return sorted(rows, key=lambda row: row.pk)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and b is None:
        # The cosine distance of the zero vector, which stock SQLite has no number for.
        return math.isnan(a)
    if isinstance(a, float) and isinstance(b, int | float):
        return _same_number(a, float(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    return type(a) is type(b) and bool(a == b)


def _same_number(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))


def difference(got: Any, expected: Any, compare: str) -> str | None:
    """A short name for what is wrong, or None."""
    if compare == "exact" or not (isinstance(got, tuple) and isinstance(expected, tuple)):
        return None if same(got, expected) else "value"
    if len(got) != len(expected):
        return "short" if len(got) < len(expected) else "long"
    if compare == "tied":
        return None if same(_numbers(got), _numbers(expected)) else "distances"
    if same(got, expected):
        return None
    if _matched(got, expected):
        return None if compare == "set" else "order"
    if _matched(_keys(got), _keys(expected)):
        return "values of rows"
    return "other rows"


def rough_difference(got: Any, expected: Any, reason: str) -> str | None:
    """What is wrong where rounding may exchange rows whose distances are nearly equal."""
    if not isinstance(got, tuple) or len(got) != len(expected):
        return reason
    if same(_numbers(got), _numbers(expected)):
        return None
    others = [row for row in got if not any(same(row, item) for item in expected)]
    return reason if len(others) > 2 else None


def pool_difference(got: Any, pool: Any, count: int) -> str | None:
    """What is wrong with rows that are any ``count`` of the pool's, which is in order."""
    if len(got) != count:
        return "short" if len(got) < count else "long"
    remaining = list(pool)
    places = []
    for row in got:
        place = next((n for n, item in enumerate(remaining) if same(row, item)), None)
        if place is None:
            return "no row of the answer, or twice"
        places.append(_numbers((remaining[place],))[0])
        remaining[place] = None
    firsts = [numbers[-1] for numbers in places if numbers]
    if any(b < a - TOLERANCE for a, b in itertools.pairwise(firsts)):
        return "order"
    return None


def _numbers(rows: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tuple(part for part in _flat(row) if isinstance(part, float)) for row in rows)


def _keys(rows: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        row.get("name", row.get("pk", row.get("id"))) if isinstance(row, dict) else row
        for row in rows
    )


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for item in value:
            if not (isinstance(item, tuple) and len(item) > 3):
                yield from _flat(item)
    else:
        yield value


def _matched(got: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    """Whether they are the same in some order."""
    a, b = (sorted(rows, key=_sorting) for rows in (got, expected))
    if all(map(same, a, b)):
        return True
    remaining = list(b)
    for row in a:
        place = next((n for n, item in enumerate(remaining) if same(row, item)), None)
        if place is None:
            return False
        del remaining[place]
    return True


def _sorting(value: Any) -> str:
    return repr([part for part in _flat(value) if not isinstance(part, float)])
