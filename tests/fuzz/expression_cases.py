"""Random rows, and one random expression in each position of the ORM."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import (
    Avg,
    Case,
    Count,
    F,
    Max,
    Min,
    OuterRef,
    Q,
    RowRange,
    Subquery,
    Sum,
    When,
    Window,
)
from django.db.models.functions import RowNumber

from dorm_vector import VectorAvg, VectorSum
from tests.fuzz.expression_trees import UNSURE, Tree, Unsure, number, stands_alone, vector
from tests.testapp.models import Full

__all__ = ["run_case"]

NUMBERS = [-3.0, -1.0, -0.5, 0.0, 0.0, 0.25, 1.0, 2.0, 2.0]
TOLERANCE = 2e-5
COLUMN = re.compile(r"\b[ab]\b")


def run_case(random: Any, aliases: tuple[str, ...]) -> Iterator[str]:
    """The differences of one case."""
    rows = [_row(random, key) for key in range(1, random.randint(2, 9))]
    tree = stands_alone(random.choice([number, number, vector])(random))
    positions = VECTOR_POSITIONS if tree.dimensions else NUMBER_POSITIONS
    position = random.choice(positions)
    state = random.getstate()
    for alias in aliases:
        if alias == "libsql" and "l1" in tree.metrics:
            continue
        random.setstate(state)
        with transaction.atomic(alias):
            Full.objects.using(alias).bulk_create(rows)
            try:
                yield from (
                    f"{alias}, {position.__name__}: {tree.words}: {difference}"
                    for difference in position(random, Full.objects.using(alias), rows, tree)
                )
            except Exception as error:
                yield f"{alias}, {position.__name__}: {tree.words}: {error!r}"
            finally:
                transaction.set_rollback(True, using=alias)


def _row(random: Any, key: int) -> Full:
    def components() -> Any:
        drawn = random.random()
        if drawn < 0.15:
            return None
        if drawn < 0.3:
            return np.zeros(3)
        return np.array([random.choice(NUMBERS) for _ in range(3)])

    return Full(pk=key, a=components(), b=components(), group=random.randint(0, 2))


def _wanted(tree: Tree, row: Full) -> Any:
    try:
        return tree.value(row)
    except Unsure:
        return UNSURE


def _same(found: Any, wanted: Any, scale: float = 1.0) -> bool:
    if wanted is UNSURE:
        return True
    if wanted is None or found is None:
        return wanted is None and found is None
    if isinstance(wanted, np.ndarray):
        return len(found) == len(wanted) and bool(
            np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE * max(1, abs(wanted).max()))
        )
    if math.isnan(wanted):
        return math.isnan(found)
    return math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE * scale)


def _scale(tree: Tree, row: Full) -> float:
    try:
        return 4 * tree.scale(row)
    except (Unsure, TypeError):  # of a NULL
        return 4.0


def _compare(tree: Tree, rows: list[Full], found: dict[int, Any]) -> Iterator[str]:
    if set(found) != {row.pk for row in rows}:
        yield f"rows {sorted(found)}"
        return
    for row in rows:
        wanted = _wanted(tree, row)
        if not _same(found[row.pk], wanted, _scale(tree, row)):
            yield f"{found[row.pk]!r} instead of {wanted!r} of {row.a}, {row.b}, {row.group}"


def annotated(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    found = {row.pk: row.x for row in manager.annotate(x=tree.expression)}
    yield from _compare(tree, rows, found)


def in_values(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    found = {row["pk"]: row["x"] for row in manager.values("pk", x=tree.expression)}
    yield from _compare(tree, rows, found)


def by_name(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    found = manager.alias(y=tree.expression).annotate(x=F("y")).values_list("pk", "x")
    yield from _compare(tree, rows, dict(found))


def in_case(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    group = random.randint(0, 2)
    expression = Case(When(Q(group=group), then=tree.expression))
    found = dict(manager.annotate(x=expression).values_list("pk", "x"))
    yield from _compare(
        tree,
        [row for row in rows if row.group == group],
        {row.pk: found[row.pk] for row in rows if row.group == group},
    )
    if any(found[row.pk] is not None for row in rows if row.group != group):
        yield f"not NULL beyond group {group}"


def in_subquery(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    inner = manager.filter(pk=OuterRef("pk")).annotate(x=tree.expression).values("x")[:1]
    found = dict(manager.annotate(z=Subquery(inner)).values_list("pk", "z"))
    yield from _compare(tree, rows, found)


def updated(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    if tree.dimensions != 3:
        return
    manager.update(b=tree.expression)
    yield from _compare(tree, rows, dict(manager.values_list("pk", "b")))


def summed(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    if not COLUMN.search(tree.words):
        return  # constants are refused
    found = manager.aggregate(total=VectorSum(tree.expression), mean=VectorAvg(tree.expression))
    values = [_wanted(tree, row) for row in rows]
    if any(value is UNSURE for value in values):
        return
    kept = [value for value in values if value is not None]
    for name, reduce in (("total", np.sum), ("mean", np.mean)):
        wanted = reduce(kept, axis=0) if kept else None
        if not _same(found[name], wanted):
            yield f"{name} {found[name]!r} instead of {wanted!r}"


def _sure(tree: Tree, rows: list[Full]) -> list[tuple[Full, Any]]:
    pairs = [(row, _wanted(tree, row)) for row in rows]
    return [] if any(value is UNSURE for _, value in pairs) else pairs


def filtered(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    limit = random.choice([-1.0, 0.0, 0.5, 1.0, 2.0, 4.0])
    pairs = _sure(tree, rows)
    if any(v is not None and abs(v - limit) <= 1e-3 for _, v in pairs):
        return  # too near to tell
    wanted = {row.pk for row, value in pairs if value is not None and value < limit}
    undefined = {row.pk for row, value in pairs if value is not None and math.isnan(value)}
    lowest = "CosineSimilarity" in tree.words  # undefined ones are the least
    found = set(
        manager.annotate(x=tree.expression).filter(x__lt=limit).values_list("pk", flat=True)
    )
    if pairs and found - (undefined if lowest else set()) != wanted - undefined:
        yield f"below {limit}: {sorted(found)} instead of {sorted(wanted)}"


def ordered(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    values = {row.pk: value for row, value in _sure(tree, rows) if value is not None}
    found = list(manager.order_by(tree.expression, "pk").values_list("pk", flat=True))
    numbers = [values[pk] for pk in found if pk in values]
    if "CosineSimilarity" in tree.words:
        numbers = [value for value in numbers if not math.isnan(value)]
    for before, after in itertools.pairwise(numbers):
        if math.isnan(before) and not math.isnan(after):
            yield f"NaN before {after}"
        if before > after + 1e-3 * max(1.0, abs(after)):
            yield f"{before} before {after}"


def lowest_and_highest(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    values = [value for _, value in _sure(tree, rows) if value is not None]
    found = manager.aggregate(low=Min(tree.expression), high=Max(tree.expression))
    if not values or any(map(math.isnan, values)):
        return
    scale = max(_scale(tree, row) for row in rows)
    for name, wanted in (("low", min(values)), ("high", max(values))):
        if not _same(found[name], wanted, scale):
            yield f"{name} {found[name]!r} instead of {wanted!r}"


def averaged(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    """Aggregates leave out what is undefined."""
    rows = [row for row in rows if row.pk <= 5] if random.random() < 0.5 else rows
    queryset = manager.order_by("pk")[:5] if len(rows) == 5 else manager.filter(pk__lte=len(rows))
    found = queryset.annotate(y=tree.expression).aggregate(
        mean=Avg("y"), total=Sum(tree.expression), count=Count("y")
    )
    pairs = _sure(tree, rows)
    values = [value for _, value in pairs if value is not None and not math.isnan(value)]
    scale = sum(_scale(tree, row) for row in rows)
    mean = sum(values) / len(values) if values else None
    total = sum(values) if values else None
    for name, wanted in (("mean", mean), ("total", total), ("count", len(values))):
        if pairs and not _same(found[name], wanted, scale):
            yield f"{name} {found[name]!r} instead of {wanted!r}"


def in_window(random: Any, manager: Any, rows: list[Full], tree: Tree) -> Iterator[str]:
    frame = RowRange(start=None, end=None)
    found = manager.annotate(
        x=Window(Min(tree.expression), partition_by="group", order_by="pk", frame=frame),
        place=Window(RowNumber(), order_by=[tree.expression, "pk"]),
    )
    pairs = _sure(tree, rows)
    seen = list(found)
    if sorted(row.place for row in seen) != list(range(1, len(rows) + 1)):
        yield f"places {[row.place for row in seen]}"
    for row in seen if pairs else ():
        values = [v for other, v in pairs if other.group == row.group and v is not None]
        if not any(map(math.isnan, values)):
            scale = max(_scale(tree, other) for other in rows)
            if not _same(row.x, min(values, default=None), scale):
                yield f"least of group {row.group}: {row.x!r} instead of {min(values)!r}"


Position = Callable[[Any, Any, list[Full], Tree], Iterator[str]]
BOTH: list[Position] = [annotated, in_values, by_name, in_case, in_subquery]
VECTOR_POSITIONS: list[Position] = [*BOTH, updated, summed]
NUMBER_POSITIONS: list[Position] = [
    *BOTH,
    filtered,
    ordered,
    lowest_and_highest,
    averaged,
    in_window,
]
