"""Kinds and modules to choose from, each with how many entries are left by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.db.models import Count, Q, QuerySet

from example_project.library.models import Entry

__all__ = ["Choice", "Facets", "facets_of", "within"]

Choice = tuple[str, str]


class Facets(NamedTuple):
    """Choices of a kind and of a module; the first of each is any."""

    kinds: list[Choice]
    modules: list[Choice]


def within(rows: QuerySet[Entry], kind: str = "", module: str = "") -> QuerySet[Entry]:
    """The rows of a kind, and of a module with those inside it; empty for any."""
    if kind:
        rows = rows.filter(kind=kind)
    if module:
        rows = rows.filter(Q(module=module) | Q(module__startswith=f"{module}."))
    return rows


def facets_of(rows: QuerySet[Any], kind: str = "", module: str = "") -> Facets:
    """
    What can be chosen for ``rows``, which are not yet those within ``kind`` and ``module``.

    Kinds are counted within the chosen module, and modules, by their first name, within the kind.
    """
    groups = rows.order_by().values_list("kind", "module").annotate(Count("pk"))
    kinds: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for each_kind, each_module, count in groups:
        if not module or f"{each_module}.".startswith(f"{module}."):
            kinds[each_kind] += count
        if not kind or each_kind == kind:
            modules[each_module.partition(".")[0]] += count
    # A module within another one can only be asked for by the URL.
    names = sorted({*modules, *([module] if module else [])}, key=str.lower)
    counts = {name: modules.get(name) for name in names}
    if module and counts[module] is None:
        counts[module] = sum(kinds.values() if not kind else [kinds[kind]])
    return Facets(
        _choices(
            "any kind", kinds.total(), ((*each, kinds[each[0]]) for each in Entry.Kind.choices)
        ),
        _choices("any module", modules.total(), ((name, name, counts[name]) for name in names)),
    )


def _choices(
    anything: str, total: int, choices: Iterable[tuple[str, str, int | None]]
) -> list[Choice]:
    return [
        ("", f"{anything} ({total:,})"),
        *((value, f"{label} ({count or 0:,})") for value, label, count in choices),
    ]
