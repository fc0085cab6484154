"""
How far the rows that vec0 is to find are at most, estimated from a few rows of the model's table.

To pick the nearest rows of a chunk, vec0 looks through it once for each of them. Given a distance
that none is beyond, it does so only as often as there are such rows. A few hundred rows, always at
the same places between the first key and the last, show a distance within which there are enough
and not many more. If there are too few after all, the search finds fewer candidates, and what
compares them sees that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from dorm_vector.sql import SQL, literal

__all__ = ["Sampled", "bound", "rank"]

PLACES = 256
#: How many rows a chunk of vec0 has.
CHUNK = 1024
# Comparisons that take longer than looking at the places does, which is two or three milliseconds.
LEAST_SAVED = 5_000_000

# Multiples of the golden ratio lie everywhere, and in step with nothing.
GOLDEN = (math.sqrt(5) - 1) / 2
FRACTIONS = sorted(number * GOLDEN % 1 for number in range(PLACES))

ENDS = "SELECT (SELECT min({key}) FROM {table}), (SELECT max({key}) FROM {table})"
# By an alias that no table has.
DISTANCES = (
    'SELECT (SELECT {distance} FROM {table} WHERE {key} >= "dorm_vector places".column1 '
    'ORDER BY {key} LIMIT 1) FROM (VALUES {values}) AS "dorm_vector places"'
)


class Sampled(NamedTuple):
    """A table with a key of integers, all quoted, and a distance of its rows; NULL is no row."""

    table: str
    key: str
    distance: SQL


def rank(wanted: int, rows: int, places: int = PLACES) -> int:
    """
    The place, counted from the nearest, within whose distance there are enough rows.

    Of the wanted rows so many places hit so many on average; it is beyond them all but for three
    standard deviations, and two more where these are few.
    """
    hit = wanted * places / max(rows, 1)
    return math.ceil(hit + 3 * math.sqrt(hit)) + 2


def saves(wanted: int, rows: int) -> bool:
    """Whether a bound saves more than it costs."""
    passes = CHUNK * rank(wanted, rows) / PLACES
    return (min(wanted, CHUNK) - passes) * rows >= LEAST_SAVED


def bound(raw: Any, sampled: Sampled, wanted: int, rows: int) -> float | None:
    """The distance within which there are ``wanted`` of the ``rows``, or None if it is unknown."""
    low, high = raw.execute(ENDS.format(table=sampled.table, key=sampled.key)).fetchone()
    if low is None:
        return None
    places = [low + int(fraction * (high - low)) for fraction in FRACTIONS]
    values = ", ".join(f"({literal(place)})" for place in places)
    sql = DISTANCES.format(
        distance=sampled.distance.sql, table=sampled.table, key=sampled.key, values=values
    )
    return _at_rank(raw.execute(sql, sampled.distance.params).fetchall(), wanted, rows)


def _at_rank(found: Sequence[tuple[float | None]], wanted: int, rows: int) -> float | None:
    distances = sorted(distance for (distance,) in found if distance is not None)
    place = rank(wanted, rows, len(distances))
    return distances[place - 1] if place <= len(distances) else None
