"""
Recall and speed of nearest() by ef_search, on PostgreSQL with pgvector's default HNSW index.

The rows are GloVe's 400,000 word vectors of 50 dimensions, less 500 that are searched with. The
expected answers are numpy's, in float64. Writes search_recall.txt and search_recall.svg.

    pip install -e '.[bench]'
    python benchmarks/search_recall.py
"""

from __future__ import annotations

import functools
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import common
import glove
import numpy as np

K = 10
EF_SEARCH = (10, 20, 40, 80, 120, 200, 400, 800)
ROUNDS = 5
TARGET = 0.95
EXACT = "exact=True"


def main() -> None:
    options = common.arguments(__doc__)
    with common.postgresql() as database:
        common.configure(database)
        rows, queries = (40_000, 100) if options.quick else (None, 500)
        measure(glove.load(rows=rows, queries=queries), options.output)


def measure(words: glove.Words, output: Path) -> None:
    blocks = np.split(words.queries, ROUNDS)
    check_plans(words)
    searches = ways(words, blocks)
    with common.step("Searching"):
        common.warm_up(searches)
        seconds, found = common.alternating(searches, ROUNDS)
    with common.step("Comparing with numpy"):
        exact = [words.nearest(query, K) for query in words.queries]
        recalls = {name: recall(words, exact, results) for name, results in found.items()}
    speeds = {name: [len(blocks[0]) / second for second in seconds[name]] for name in seconds}
    intro = f"{len(words.vectors):,} rows, {len(words.queries)} queries, k={K}"
    common.report(output / "search_recall.txt", intro, listed(recalls, speeds))
    plot(recalls, speeds, output / "search_recall.svg")
    verdict(recalls)


def ways(words: glove.Words, blocks: list[np.ndarray]) -> dict[str, Callable[[int], Any]]:
    """What is measured, each a function of the number of a block of queries."""

    def search(round_number: int, **params: Any) -> list[list[int]]:
        return [list(pks(words, query, **params)) for query in blocks[round_number]]

    approximate = {str(ef): functools.partial(search, ef_search=ef) for ef in EF_SEARCH}
    return {**approximate, EXACT: functools.partial(search, exact=True)}


def pks(words: glove.Words, query: np.ndarray, **params: Any) -> Any:
    found = words.model.objects.nearest("embedding", query, k=K, **params)
    return found.values_list("pk", flat=True)


def check_plans(words: glove.Words) -> None:
    """The planner must have taken the index by itself, and no index for the exact search."""
    query = words.queries[0]
    used = {str(ef): glove.searches_index(pks(words, query, ef_search=ef)) for ef in EF_SEARCH}
    used[EXACT] = not glove.searches_index(pks(words, query, exact=True))
    if not all(used.values()):
        sys.exit(f"PostgreSQL has planned another search than was meant: {used}")


def recall(words: glove.Words, exact: list[np.ndarray], blocks: list[list[list[int]]]) -> float:
    answers = [found for block in blocks for found in block]
    return statistics.mean(map(words.recall, words.queries, answers, exact))


def listed(recalls: dict[str, float], speeds: dict[str, list[float]]) -> str:
    header = ["ef_search", "recall@10", "queries/s", "min", "max", "times exact"]
    return common.table(
        header,
        [
            [
                name,
                f"{recalls[name]:.3f}",
                *common.spread(speeds[name], 0),
                f"{common.ratio(speeds[name], speeds[EXACT]):.1f}",
            ]
            for name in recalls
        ],
    )


def plot(recalls: dict[str, float], speeds: dict[str, list[float]], file: Path) -> None:
    with common.figure(file, (7, 4.2)) as figure:
        medians = {name: statistics.median(speeds[name]) for name in speeds}
        draw(figure.subplots(), recalls, medians)


def draw(axes: Any, recalls: dict[str, float], speeds: dict[str, float]) -> None:
    names: Sequence[str] = [str(ef) for ef in EF_SEARCH]
    points = [(recalls[name], speeds[name]) for name in names]
    axes.plot(*zip(*points, strict=True), marker="o", color="#1f5f8b")
    for name, point in zip(names, points, strict=True):
        axes.annotate(name, point, xytext=(6, 6), textcoords="offset points")
    axes.axvline(TARGET, color="#999999", linestyle="--", linewidth=1)
    axes.axhline(speeds[EXACT], color="#999999", linestyle=":", linewidth=1)
    axes.annotate("exact search", (min(recalls.values()), speeds[EXACT]), va="bottom")
    axes.set(xlabel="recall@10", ylabel="queries per second", yscale="log")
    axes.set_title("nearest(k=10) by ef_search", fontsize=11)
    axes.margins(0.08)
    axes.grid(visible=True, alpha=0.3)


def verdict(recalls: dict[str, float]) -> None:
    """End with an error unless some ef_search reaches the target."""
    enough = [ef for ef in EF_SEARCH if recalls[str(ef)] >= TARGET]
    if not enough:
        sys.exit(f"No ef_search reached recall@10 of {TARGET}.")
    print(f"recall@10 of {TARGET} is reached at ef_search={min(enough)}.")


if __name__ == "__main__":
    main()
