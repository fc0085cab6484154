"""What the database's plan of a search says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["REMOTE", "nodes", "searched_indexes"]

# Plans of rows that come from elsewhere, where an index may have been searched and cut off.
REMOTE = {"Foreign Scan": "foreign table", "Custom Scan": "distributed table"}


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """All nodes of a plan (EXPLAIN's JSON)."""
    if isinstance(plan, list):
        for part in plan:
            yield from nodes(part)
    elif isinstance(plan, dict):
        if "Node Type" in plan:
            yield plan
        yield from nodes(list(plan.values()))


def searched_indexes(plan: Any) -> Iterator[str]:
    """The names of the indexes that a plan searches by distance."""
    return (
        node["Index Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Index Scan" and "Order By" in node
    )
