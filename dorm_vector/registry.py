"""
What subclassing registers: fields, metrics by ``Distance``, index methods by ``MethodIndex``.

Kinds, engines and checks read them here, without importing expressions and indexes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from dorm_vector.options import Option

__all__ = ["FIELDS", "METHODS", "METRICS", "Method", "Metric", "metrics_of", "register"]


class Metric(Protocol):
    """What the class of a metric declares; see ``dorm_vector.distances.Distance``."""

    metric: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    sql: ClassVar[Mapping[str, str]]
    operator_class: ClassVar[str]
    indexed_by: ClassVar[Mapping[str, tuple[str, ...]]]
    may_be_undefined: ClassVar[bool]
    undefined_at_zero: ClassVar[bool]


class Method(Protocol):
    """What the class of an index method declares; see ``dorm_vector.indexes.MethodIndex``."""

    method: ClassVar[str]
    metrics: ClassVar[Mapping[str, tuple[str, ...]]]
    options: ClassVar[Mapping[str, Option]]
    search_options: ClassVar[Mapping[str, Option]]


#: By the name of a field kind.
FIELDS: dict[str, Any] = {}
#: By the name of a metric.
METRICS: dict[str, type[Metric]] = {}
#: By the name of an index method.
METHODS: dict[str, type[Method]] = {}


def register(known: dict[str, Any], name: str, cls: type) -> None:
    """
    Register a class under a name.

    A subclass that repeats the name leaves it to its parent, and a class that is defined again
    replaces itself. Raises ValueError if another class has the name.
    """
    other = known.setdefault(name, cls)
    if (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__):
        known[name] = cls
    elif not issubclass(cls, other):
        raise ValueError(
            f"{cls.__qualname__} needs another name than {name!r}, which {other.__qualname__} has."
        )


def metrics_of(kind: str, default: str) -> list[str]:
    """The metrics of a field kind, its default first."""
    found = [name for name, metric in METRICS.items() if kind in metric.kinds]
    return sorted(found, key=lambda name: name != default)
