"""The rows of a search as the driver returns them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from django.db.models.expressions import ColPairs

__all__ = ["Rows", "driver_column", "first_rows", "flat", "sort"]

Rows = list[Any]


def driver_column(compiler: Any, annotation: str) -> int | None:
    """The position of an annotation in a row of the driver's, or None if it is not selected."""
    place = compiler.annotation_col_map.get(annotation)
    if place is None:
        return None
    # A primary key of several columns is one expression of the select clause.
    before = (expression for expression, _, _ in compiler.select[:place])
    return sum(len(each) if isinstance(each, ColPairs) else 1 for each in before)


def first_rows(
    rows: Rows, first: tuple[int, int], sorted_by: tuple[int, int | None], unasked: int
) -> tuple[Rows, int] | None:
    """
    The first rows of a block without what was not asked for, and up to which row it goes.

    None where other rows of the block matter: the last two are equally near, so that there may be
    more of these than were looked at, or the rows are in no order. ``sorted_by`` are the places of
    the distance and of the key, which is None where the database has sorted by it.
    """
    (low, high), (distance, key) = first, sorted_by
    there = low + len(rows) if rows else 0
    distances = [row[distance] for row in rows]
    if distances != sorted(distances) or (there == high and distances[-2:-1] == distances[-1:]):
        return None
    if key is not None and len(set(distances)) < len(rows):
        rows.sort(key=operator.itemgetter(distance, key))
    return [row[:-unasked] for row in rows] if unasked else rows, min(there, high - 1)


def sort(rows: Rows, column: int | None) -> None:
    """Sort rows by their distance, if they have it: scans in relaxed order do not."""
    if column is not None:
        rows.sort(key=operator.itemgetter(column))


def flat(chunks: Iterable[Any]) -> Rows:
    """The rows of all chunks."""
    return [row for chunk in chunks for row in chunk]
