"""What ``bulk_copy()`` reads of a model's instances."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Field, Max, Model

from dorm_vector.anyvector import AnyVectorField

__all__ = ["Order", "held_types", "reader"]

# Types of which no value is an expression, or an iterator.
TIMES = (date, datetime, time, timedelta)
HELD = frozenset({bool, int, float, str, bytes, list, tuple, dict, Decimal, UUID, *TIMES})


def held_types() -> frozenset[type]:
    """Types of which each value is one to be saved as it is."""
    numpy = sys.modules.get("numpy")
    return HELD | {numpy.ndarray} if numpy else HELD


def reader(field: Any) -> tuple[Callable[[Any], Any], Callable[[Any, bool], Any] | None]:
    """
    What reads the value of a field, and what reads it again unless it is of a type in ``HELD``.

    Where pre_save() does anything else, it is called once.
    """
    read = operator.attrgetter(field.attname)
    pre_save = getattr(field.pre_save, "__func__", None)
    if pre_save is Field.pre_save:
        return read, None
    if pre_save is AnyVectorField.pre_save:
        return read, field.pre_save
    return lambda obj: field.pre_save(obj, True), None


class Order:
    """The next ``_order`` of each group of a model with ``order_with_respect_to``."""

    def __init__(self, model: type[Model], alias: str) -> None:
        self.field: Any = model._meta.order_with_respect_to
        self.rows = model._base_manager.using(alias)
        self.next: dict[Any, int] = {}

    def set(self, obj: Any) -> None:
        if getattr(obj, "_order", None) is not None:
            return
        group = self.field.get_filter_kwargs_for_object(obj)
        key = tuple(group.values())
        if key not in self.next:
            last = self.rows.filter(**group).aggregate(last=Max("_order"))["last"]
            self.next[key] = 0 if last is None else last + 1
        obj._order = self.next[key]
        self.next[key] += 1
