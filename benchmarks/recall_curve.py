"""
Recall and what it costs, with filters, on PostgreSQL: ``ef_search``, ``recall="high"`` and exactly.

The rows are those of search_recall.py, 100,000 at most, by pgvector's HNSW index at its defaults. A
filter on an integer column without an index leaves a half, a tenth and a hundredth of them. All
ways take turns, query by query. The right answers are numpy's, in float64. Writes
recall_curve_text.txt and recall_curve_glove.txt.

    pip install -e '.[bench]'
    python benchmarks/recall_curve.py
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator
from typing import Any

import common
from hnsw_table import Table, loaded
from sources import SOURCES

KS = (10, 100)
# The share of the rows that pass the filter; all of them without one.
SHARES = (None, 0.5, 0.1, 0.01)
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "ef_search=100": {"ef_search": 100},
    "ef_search=200": {"ef_search": 200},
    "ef_search=400": {"ef_search": 400},
    "relaxed_order": {"iterative_scan": "relaxed_order"},
    'recall="high"': {"recall": "high"},
    "exact=True": {"exact": True},
}
HEADER = ("Rows that pass", "k", "nearest(...)", "recall", "worst", "ms", "to exact")


def main() -> None:
    options = common.arguments(__doc__, SOURCES)
    rows, queries = (5_000, 5) if options.quick else (100_000, 40)
    with common.postgresql() as database:
        common.configure(database)
        for key in options.names:
            with loaded(SOURCES[key], rows=rows, queries=queries) as table:
                found = [row for share in SHARES for k in KS for row in measured(table, share, k)]
            title = f"{table.title}, {queries} queries; medians"
            file = options.output / f"recall_curve_{key}.txt"
            common.report(file, common.titled(title, HEADER, found))


def measured(table: Table, share: float | None, k: int) -> Iterator[list[str]]:
    matching = None if share is None else int(share * len(table.vectors))
    label = "all" if share is None else f"{100 * share:g} %"

    def search(number: int, **params: Any) -> list[int]:
        rows = table.model.objects.all()
        if matching is not None:
            rows = rows.filter(rank__lt=matching)
        found = rows.nearest("embedding", table.queries[number], k=k, **params)
        return list(found.values_list("pk", flat=True))

    ways = {name: functools.partial(search, **params) for name, params in WAYS.items()}
    with common.step(f"{label}, k={k}"):
        common.warm_up(ways)
        seconds, found = common.alternating(ways, len(table.queries))
    exact = [table.nearest(query, k, matching) for query in table.queries]
    for name, answers in found.items():
        recalls = list(map(table.recall, table.queries, answers, exact))
        yield [
            label,
            str(k),
            name,
            f"{statistics.mean(recalls):.3f}",
            f"{min(recalls):.2f}",
            f"{statistics.median(common.milliseconds(seconds[name])):.1f}",
            f"{common.ratio(seconds[name], seconds['exact=True']):.2f}",
        ]


if __name__ == "__main__":
    main()
