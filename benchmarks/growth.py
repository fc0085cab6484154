"""
From 1,000 to 400,000 rows: loading, building an index, searching, and what all of it takes.

Real text, which are passages of docstrings in 256 dimensions, and GloVe's vectors of 50, each less
50 that are searched with, in a table with a VectorIndex for the cosine distance; it is built when
the rows are there. Beside the three databases stand numpy's brute force and usearch, which keep
vectors in the memory of one process. libSQL's index is built of 10,000 rows at most: it takes a
millisecond for each row. pgvector.django and usearch get 100,000 at most.
The right answers are numpy's, in float64. Writes growth_text.txt, growth_glove.txt and a plot of
each.

    pip install -e '.[bench]'
    python benchmarks/growth.py
    python benchmarks/growth.py text
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import common
import corpus
import numpy as np
import peers
import searching
from sources import GLOVE, Source

ROWS = (1_000, 10_000, 100_000, 400_000)
QUICK_ROWS = (100, 500, 5_000)
MOST_OF_LIBSQL_INDEX = 10_000
MOST_OF_PGVECTOR = 100_000
MOST_OF_USEARCH = 100_000
QUERIES, EXACT_QUERIES = 50, 10
KINDS: dict[str, Any] = {searching.BRUTE_FORCE: peers.BruteForce, searching.USEARCH: peers.Usearch}
HEADER = ("By", "rows", "load s", "index s", "MB", "ms", "ms exact", "recall@10")
COLOURS = ("#1f5f8b", "#c2571a", "#3b7d3b", "#7a4b94", "#8a8a8a")


class Measured(NamedTuple):
    label: str
    rows: int
    #: Seconds of loading the rows, and of building the index.
    load: float
    build: float | None
    #: Of the table and its index, or of the memory that it takes.
    bytes: int | None
    seconds: float | None
    exact_seconds: float | None
    recall: float | None


NAMES = {"text": "Passages, 256 dimensions", "glove": "GloVe, 50 dimensions"}
PASSAGES = Source("text", "passages of docstrings", corpus.DIMENSIONS, corpus.passages)
DATA = {"text": PASSAGES, "glove": GLOVE}


def main() -> None:
    options = common.arguments(__doc__, DATA)
    with common.every_database() as databases:
        common.configure(**databases)
        for key in options.names:
            found = grown(DATA[key], options.quick)
            title = (
                f"{NAMES[key]}, k={searching.K}; medians of {QUERIES} and {EXACT_QUERIES} searches"
            )
            file = options.output / f"growth_{key}.txt"
            common.report(file, common.titled(title, HEADER, list(map(cells, found))))
            plot(NAMES[key], found, file.with_suffix(".svg"))


def grown(source: Source, quick: bool) -> list[Measured]:
    """By what is measured, and then by the number of rows."""
    counts = QUICK_ROWS if quick else ROWS
    most_of_libsql_index = QUICK_ROWS[1] if quick else MOST_OF_LIBSQL_INDEX
    vectors = source.load(counts[-1])
    found: list[Measured] = []
    for count in counts:
        rows = min(count, len(vectors) - QUERIES)
        data = searching.drawn(vectors, rows, QUERIES)
        for alias in common.ALIASES:
            has_index = alias != "libsql" or rows <= most_of_libsql_index
            found.append(of_database(alias, data, has_index))
        if rows <= MOST_OF_PGVECTOR:
            found.append(of_pgvector(data))
        found += in_memory(data)
    order = list(dict.fromkeys(each.label for each in found))
    return sorted(found, key=lambda each: order.index(each.label))


def cells(each: Measured) -> list[str]:
    return [
        each.label,
        f"{each.rows:,}",
        f"{each.load:.2f}",
        number(each.build, 2),
        number(each.bytes and each.bytes / 1e6, 1),
        number(each.seconds and 1000 * each.seconds, 2),
        number(each.exact_seconds and 1000 * each.exact_seconds, 2),
        number(each.recall, 3),
    ]


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


# Databases


def declared(data: searching.Data) -> Any:
    from dorm_vector import VectorIndex, models

    index = VectorIndex(fields=["embedding"], name="growth_embedding", metric="cosine")
    return common.model(
        "growth", indexes=[index], embedding=models.VectorField(data.vectors.shape[1])
    )


def of_database(alias: str, data: searching.Data, has_index: bool) -> Measured:
    model, rows = declared(data), len(data.vectors)
    before = used(alias)
    with common.tables(model, alias), common.step(f"{rows:,} rows, {alias}"):
        load = timed(lambda: fill(model, alias, data))
        build = timed(lambda: common.build(model, alias)) if has_index else None
        size = used(alias) - before
        objects = model.objects.using(alias)
        _, exact = search(lambda query: nearest(objects, query, True), data, EXACT_QUERIES)
        if not has_index:
            return Measured(peers.LABELS[alias], rows, load, None, size, None, exact, None)
        answers, seconds = search(lambda query: nearest(objects, query, False), data, QUERIES)
        recall = searching.recall(data, answers)
    return Measured(peers.LABELS[alias], rows, load, build, size, seconds, exact, recall)


def fill(model: Any, alias: str, data: searching.Data) -> None:
    from dorm_vector import bulk_copy

    bulk_copy(model.objects.using(alias), (model(embedding=vector) for vector in data.vectors))


def nearest(objects: Any, query: np.ndarray, exact: bool) -> list[int]:
    return list(searching.nearest(objects, query, exact=exact))


def used(alias: str) -> int:
    """The bytes of a database, without those of deleted rows."""
    if alias == "default":
        ((size,),) = common.execute("SELECT pg_database_size(current_database())", alias)
        return int(size)
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (common.execute(f"PRAGMA {name}", alias)[0][0] for name in names)
    return int((pages - free) * size)


def of_pgvector(data: searching.Data) -> Measured:
    """Loading alone: its searches are those of ``searching``."""
    ours, rows = declared(data), len(data.vectors)
    theirs = peers.pgvector_model("growth", data.vectors.shape[1])
    with common.tables(ours, "default"), common.step(f"{rows:,} rows, {peers.PGVECTOR}"):
        made = [theirs(embedding=vector) for vector in data.vectors]
        load = timed(lambda: theirs.objects.bulk_create(made, batch_size=10_000))
    return Measured(f"{peers.PGVECTOR}, bulk_create()", rows, load, None, None, None, None, None)


# In memory


def in_memory(data: searching.Data) -> list[Measured]:
    rows, found = len(data.vectors), []
    with common.step(f"{rows:,} rows, in memory"):
        for label, kind in KINDS.items():
            if label == searching.USEARCH and rows > MOST_OF_USEARCH:
                continue
            start = time.perf_counter()
            made = kind(data.vectors)
            took = time.perf_counter() - start
            answers, seconds = search(
                lambda query, made=made: made.search(query, searching.K), data
            )
            measured = Measured(label, rows, took, None, made.bytes, None, seconds, None)
            if label == searching.USEARCH:
                measured = measured._replace(
                    load=0.0, build=took, seconds=seconds, exact_seconds=None
                )
            found.append(measured._replace(recall=searching.recall(data, answers)))
    return found


# Measuring


def search(
    way: Callable[[np.ndarray], list[int]], data: searching.Data, queries: int = QUERIES
) -> tuple[list[list[int]], float]:
    """The answers, and the median of the seconds of one."""
    way(data.queries[0])
    answers, seconds = [], []
    for query in data.queries[:queries]:
        start = time.perf_counter()
        answers.append(way(query))
        seconds.append(time.perf_counter() - start)
    return answers, statistics.median(seconds)


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def plot(name: str, found: list[Measured], file: Any) -> None:
    with common.figure(file, (9, 4.2)) as figure:
        times, sizes = figure.subplots(1, 2)
        draw(found, times, sizes)
        times.set_title(f"{name}: a search; dotted: exact", fontsize=11)
        sizes.set_title("Table and index, or memory", fontsize=11)
        sizes.legend(fontsize=8)


def draw(found: list[Measured], times: Any, sizes: Any) -> None:
    labels = dict.fromkeys(each.label for each in found if each.bytes)
    for label, colour in zip(labels, COLOURS, strict=True):
        own = [each for each in found if each.label == label]
        for style, attribute in (("-", "seconds"), (":", "exact_seconds")):
            points = [
                (each.rows, 1000 * getattr(each, attribute))
                for each in own
                if getattr(each, attribute)
            ]
            if points:
                times.plot(*zip(*points, strict=True), style, marker="o", color=colour)
        # Of libSQL's larger tables there is no index.
        points = [(each.rows, each.bytes / 1e6) for each in own if each.recall and each.bytes]
        sizes.plot(*zip(*points, strict=True), marker="o", color=colour, label=label)
    times.set(xscale="log", yscale="log", xlabel="rows", ylabel="milliseconds")
    sizes.set(xscale="log", yscale="log", xlabel="rows", ylabel="MB")
    for axes in (times, sizes):
        axes.grid(visible=True, alpha=0.3)


if __name__ == "__main__":
    main()
