"""
nearest() by ``ef_search`` on PostgreSQL with pgvector's default HNSW index: recall and speed.

The rows are paragraphs of real text in 256 dimensions, and GloVe's 400,000 word vectors of 50, each
less 500 that are searched with. The expected answers are numpy's, in float64. Writes
search_recall_text.txt, search_recall_glove.txt and a plot of each.

    pip install -e '.[bench]'
    python benchmarks/search_recall.py
"""

from __future__ import annotations

import functools
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from hnsw_table import Table, loaded
from sources import SOURCES

K = 10
EF_SEARCH = (10, 20, 40, 80, 120, 200, 400, 800)
ROUNDS = 5
TARGET = 0.95
EXACT = "exact=True"


class Measured(NamedTuple):
    title: str
    recalls: dict[str, float]
    #: Searches a second, block by block.
    speeds: dict[str, list[float]]


def main() -> None:
    options = common.arguments(__doc__, SOURCES)
    rows, queries = (5_000, 50) if options.quick else (400_000, 500)
    with common.postgresql() as database:
        common.configure(database)
        for key in options.names:
            with loaded(SOURCES[key], rows=rows, queries=queries) as table:
                found = measured(table)
            file = options.output / f"search_recall_{key}.txt"
            title = f"{found.title}, {queries} queries, k={K}"
            common.report(file, common.titled(title, HEADER, listed(found)))
            plot(found, file.with_suffix(".svg"))
            verdict(found)


def measured(table: Table) -> Measured:
    blocks = np.split(table.queries, ROUNDS)
    searches = ways(table, blocks)
    with common.step("Searching"):
        common.warm_up(searches)
        seconds, found = common.alternating(searches, ROUNDS)
    with common.step("Comparing with numpy"):
        exact = [table.nearest(query, K) for query in table.queries]
        recalls = {name: recall(table, exact, results) for name, results in found.items()}
    speeds = {name: [len(blocks[0]) / second for second in seconds[name]] for name in seconds}
    return Measured(table.title, recalls, speeds)


def ways(table: Table, blocks: list[np.ndarray]) -> dict[str, Callable[[int], Any]]:
    """What is measured, each a function of the number of a block of queries."""

    def search(round_number: int, **params: Any) -> list[list[int]]:
        return [list(pks(table, query, **params)) for query in blocks[round_number]]

    approximate = {str(ef): functools.partial(search, ef_search=ef) for ef in planned(table)}
    return {**approximate, EXACT: functools.partial(search, exact=True)}


def pks(table: Table, query: np.ndarray, **params: Any) -> Any:
    found = table.model.objects.nearest("embedding", query, k=K, **params)
    return found.values_list("pk", flat=True)


def planned(table: Table) -> list[int]:
    """
    Those for which the planner takes the index by itself; of few rows it reads the table.

    Ends with an error where it takes an index for the exact search, or none for pgvector's own 40.
    """
    query = table.queries[0]
    used = [ef for ef in EF_SEARCH if table.searches_index(pks(table, query, ef_search=ef))]
    if 40 not in used or table.searches_index(pks(table, query, exact=True)):
        sys.exit(f"PostgreSQL has planned another search than was meant; the index for {used}.")
    return used


def recall(table: Table, exact: list[np.ndarray], blocks: list[list[list[int]]]) -> float:
    answers = [found for block in blocks for found in block]
    return statistics.mean(map(table.recall, table.queries, answers, exact))


HEADER = ["ef_search", "recall@10", "queries/s", "min", "max", "times exact"]


def listed(found: Measured) -> list[list[str]]:
    recalls, speeds = found.recalls, found.speeds
    return [
        [
            name,
            f"{recalls[name]:.3f}",
            *common.spread(speeds[name], 0),
            f"{common.ratio(speeds[name], speeds[EXACT]):.1f}",
        ]
        for name in recalls
    ]


def plot(found: Measured, file: Path) -> None:
    with common.figure(file, (7, 4.2)) as figure:
        draw(figure.subplots(), found)


def draw(axes: Any, found: Measured) -> None:
    names: Sequence[str] = [name for name in found.speeds if name != EXACT]
    speeds = {name: statistics.median(each) for name, each in found.speeds.items()}
    points = [(found.recalls[name], speeds[name]) for name in names]
    axes.plot(*zip(*points, strict=True), marker="o", color="#1f5f8b")
    for name, point in zip(names, points, strict=True):
        axes.annotate(name, point, xytext=(6, 6), textcoords="offset points")
    axes.axvline(TARGET, color="#999999", linestyle="--", linewidth=1)
    axes.axhline(speeds[EXACT], color="#999999", linestyle=":", linewidth=1)
    axes.annotate("exact search", (min(found.recalls.values()), speeds[EXACT]), va="bottom")
    axes.set(xlabel="recall@10", ylabel="queries per second", yscale="log")
    axes.set_title(found.title, fontsize=11)
    axes.margins(0.08)
    axes.grid(visible=True, alpha=0.3)


def verdict(found: Measured) -> None:
    """End with an error unless some ef_search reaches the target."""
    enough = [int(ef) for ef, each in found.recalls.items() if ef != EXACT and each >= TARGET]
    if not enough:
        sys.exit(f"{found.title}: no ef_search reached recall@10 of {TARGET}.")
    print(f"{found.title}: recall@10 of {TARGET} is reached at ef_search={min(enough)}.")


if __name__ == "__main__":
    main()
