"""
Filtered searches on PostgreSQL: are they complete, and what does that cost?

nearest() and the plain order_by(CosineDistance(...))[:k] search the rows of search_recall.py, of
which a filter on an integer column leaves 1 %, 0.1 % and, of GloVe's, 0.01 %: with and without a
B-tree on that column, by the planner's choice and by the vector index throughout. Every answer of
nearest() is checked for its number of rows, their order, duplicates, and the filter. Writes
search_filtered_text.txt and search_filtered_glove.txt.

    pip install -e '.[bench]'
    python benchmarks/search_filtered.py
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import common
import numpy as np
from hnsw_table import Table, loaded
from sources import SOURCES

SHARES = (0.01, 0.001, 0.0001)
# Fewer are hardly a search.
LEAST_MATCHING = 30
KS = (10, 100)
NEAREST, PLAIN, NO_ITERATION = "nearest()", "plain", "plain, hnsw.iterative_scan off"
# Nothing but the vector index is left to the planner.
FORCED = ("enable_seqscan", "enable_bitmapscan", "enable_sort")

Answer = list[tuple[int, float]]


class Variant(NamedTuple):
    name: str
    btree: bool
    forced: bool


VARIANTS = (
    Variant("Nothing but the vector index", btree=False, forced=True),
    Variant("The planner's choice", btree=False, forced=False),
    Variant("The planner's choice, with a B-tree", btree=True, forced=False),
)


class Case(NamedTuple):
    """A filter and a k, and what came of them."""

    table: Table
    share: float
    matching: int
    k: int
    uses_index: dict[str, bool]
    completed: int
    seconds: dict[str, list[float]]
    answers: dict[str, list[Answer]]

    @property
    def wanted(self) -> int:
        return min(self.k, self.matching)

    @property
    def exact(self) -> list[np.ndarray]:
        queries = self.table.queries[: len(self.answers[NEAREST])]
        return [self.table.nearest(query, self.k, self.matching) for query in queries]

    @property
    def label(self) -> list[str]:
        return [f"{100 * self.share:g} %", str(self.k), str(self.wanted)]


class Completions:
    """Counts the searches of which a part was run again without the index."""

    def __init__(self) -> None:
        self.count = 0
        self.seen = False

    def of(self, way: Callable[[int], Answer]) -> Callable[[int], Answer]:
        from django.db import connection

        def counted(number: int) -> Answer:
            self.seen = False
            with connection.execute_wrapper(self):
                found = way(number)
            self.count += self.seen
            return found

        return counted

    def __call__(self, execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        self.seen |= "+ 0.0" in sql
        return execute(sql, *args)


def main() -> None:
    options = common.arguments(__doc__, SOURCES)
    rows, queries = (5_000, 5) if options.quick else (400_000, 30)
    with common.postgresql() as database:
        common.configure(database)
        for key in options.names:
            with loaded(SOURCES[key], rows=rows, queries=min(500, rows // 10)) as table:
                cases = {each: list(measured(table, each, queries)) for each in VARIANTS}
            tables = [part for each in VARIANTS for part in described(each, cases[each])]
            intro = f"{table.title}; {queries} queries a line."
            common.report(options.output / f"search_filtered_{key}.txt", intro, *tables)
            verdict([case for found in cases.values() for case in found])


def measured(table: Table, variant: Variant, queries: int) -> Iterator[Case]:
    with btree(table.model, variant.btree), forced(variant.forced):
        for share, k in itertools.product(SHARES, KS):
            if share * len(table.vectors) < LEAST_MATCHING:
                continue
            with common.step(f"{variant.name}, {100 * share:g} %, k={k}"):
                yield case(table, share, k, queries)


@contextlib.contextmanager
def btree(model: Any, wanted: bool) -> Iterator[None]:
    from django.db import connection
    from django.db.models import Index

    index = Index(fields=["rank"], name="rows_rank")
    if not wanted:
        yield
        return
    with connection.schema_editor() as editor:
        editor.add_index(model, index)
    yield
    with connection.schema_editor() as editor:
        editor.remove_index(model, index)


@contextlib.contextmanager
def forced(wanted: bool) -> Iterator[None]:
    for name in FORCED if wanted else ():
        common.execute(f"SET {name} = off")
    yield
    for name in FORCED:
        common.execute(f"RESET {name}")


def case(table: Table, share: float, k: int, queries: int) -> Case:
    matching = int(len(table.vectors) * share)
    searches = {
        NEAREST: lambda number: nearest(table, number, matching, k),
        PLAIN: lambda number: plain(table, number, matching, k),
    }
    ways = {name: delivered(search) for name, search in searches.items()}
    ways[NO_ITERATION] = without_iteration(searches[PLAIN])
    uses_index = {name: table.searches_index(search(0)) for name, search in searches.items()}
    common.warm_up(ways)
    completions = Completions()
    ways[NEAREST] = completions.of(ways[NEAREST])
    seconds, answers = common.alternating(ways, queries)
    return Case(table, share, matching, k, uses_index, completions.count, seconds, answers)


def nearest(table: Table, number: int, matching: int, k: int) -> Any:
    rows = table.model.objects.filter(rank__lt=matching)
    found = rows.nearest("embedding", table.queries[number], k=k)
    return found.values_list("pk", "distance")


def plain(table: Table, number: int, matching: int, k: int) -> Any:
    from dorm_vector import CosineDistance

    rows = table.model.objects.filter(rank__lt=matching)
    sorted_rows = rows.annotate(distance=CosineDistance("embedding", table.queries[number]))
    return sorted_rows.order_by("distance").values_list("pk", "distance")[:k]


def delivered(search: Callable[[int], Any]) -> Callable[[int], Answer]:
    return lambda number: list(search(number))


def without_iteration(search: Callable[[int], Any]) -> Callable[[int], Answer]:
    """The search as pgvector runs it by default."""

    def way(number: int) -> Answer:
        common.execute("SET hnsw.iterative_scan = off")
        found = list(search(number))
        common.execute("SET hnsw.iterative_scan = strict_order")
        return found

    return way


# What is told


def described(variant: Variant, cases: list[Case]) -> Iterator[str]:
    yield common.titled(f"{variant.name}; rows", ROWS, [rows(case) for case in cases])
    yield common.titled(f"{variant.name}; milliseconds", TIMES, [times(case) for case in cases])


ROWS = ["filter", "k", "expected", NEAREST, "completed", "recall", PLAIN, "not iterative"]
TIMES = ["filter", "k", "expected", "plan", NEAREST, "min", "max", PLAIN, "plan", "ratio"]


def rows(case: Case) -> list[str]:
    counts = {name: [len(answer) for answer in case.answers[name]] for name in case.answers}
    return [
        *case.label,
        extent(counts[NEAREST]),
        f"{case.completed} of {len(counts[NEAREST])}",
        f"{recall(case):.3f}",
        extent(counts[PLAIN]),
        extent(counts[NO_ITERATION]),
    ]


def extent(counts: list[int]) -> str:
    least, greatest = min(counts), max(counts)
    return str(least) if least == greatest else f"{least} to {greatest}"


def recall(case: Case) -> float:
    return statistics.mean(
        case.table.recall(query, [pk for pk, _ in answer], exact)
        for query, answer, exact in zip(
            case.table.queries, case.answers[NEAREST], case.exact, strict=False
        )
    )


def times(case: Case) -> list[str]:
    taken = {name: common.milliseconds(case.seconds[name]) for name in case.seconds}
    plans = {name: "vector" if case.uses_index[name] else "other" for name in case.uses_index}
    return [
        *case.label,
        plans[NEAREST],
        *common.spread(taken[NEAREST]),
        f"{statistics.median(taken[PLAIN]):.1f}",
        plans[PLAIN],
        f"{common.ratio(taken[NEAREST], taken[PLAIN]):.2f}",
    ]


def verdict(cases: list[Case]) -> None:
    """End with an error unless every answer of nearest() is what was asked for."""
    found = [problem for case in cases for problem in problems(case)]
    if found:
        sys.exit("\n".join(found))
    answers = sum(len(case.answers[NEAREST]) for case in cases)
    print(f"{answers} answers of nearest(): complete, sorted, without duplicates, filtered.")


def problems(case: Case) -> Iterator[str]:
    for number, answer in enumerate(case.answers[NEAREST]):
        pks = [pk for pk, _ in answer]
        distances = [distance for _, distance in answer]
        right = {
            f"{len(pks)} rows": len(pks) == case.wanted,
            "not sorted": distances == sorted(distances),
            "duplicates": len(set(pks)) == len(pks),
            "rows that do not match": bool(np.all(case.table.rank[pks] < case.matching)),
        }
        wrong = [name for name, holds in right.items() if not holds]
        if wrong:
            yield f"{' '.join(case.label)}, query {number}: {', '.join(wrong)}"


if __name__ == "__main__":
    main()
