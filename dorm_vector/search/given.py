"""The arguments of ``nearest()``: where it searches, for which vectors, and how many rows."""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple

from django.core.exceptions import FieldError
from django.db.models import Manager, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.db.models.query import RawQuerySet
from django.db.models.sql import Query

from dorm_vector.fields import AnyVectorField
from dorm_vector.search.limits import check_rows
from dorm_vector.values import short

__all__ = [
    "Path",
    "check_can_be_searched",
    "check_limits",
    "check_recall",
    "path_of",
    "queryset_of",
]


class Path(NamedTuple):
    """A path to a vector: how it was written, its field, and whether it leads to many rows."""

    written: str
    field: Any
    is_many: bool
    #: Whether the vector is in the model's own table.
    is_own: bool = False

    @property
    def vector_field(self) -> Any:
        """The vector field, which may be the output field of another."""
        return getattr(self.field, "output_field", None) or self.field

    @property
    def relation(self) -> list[str]:
        """The names of the relations before the field."""
        return self.written.split(LOOKUP_SEP)[:-1]

    def column(self, query: Query) -> Any:
        """The column of the vector if the query has it without a join, or None."""
        return self.field.get_col(query.get_initial_alias()) if self.is_own else None


def queryset_of(given: object, caller: str = "nearest()") -> QuerySet[Any]:
    """The queryset of a queryset, a manager or a model. Raises TypeError for anything else."""
    if isinstance(given, QuerySet):
        return given
    if isinstance(given, Manager):
        return given.all()
    if isinstance(given, type) and issubclass(given, Model):
        return given._default_manager.all()
    if isinstance(given, RawQuerySet):
        raise TypeError(
            f"{caller} cannot search a RawQuerySet, which is SQL already: give it a queryset, and "
            "the conditions as filter()."
        )
    raise TypeError(f"{caller} takes a queryset, a manager or a model, not {given!r}.")


def check_can_be_searched(rows: Any) -> None:
    """Raise the errors of annotate() and order_by()."""
    rows._not_support_combined_queries("nearest")
    if rows.query.is_sliced:
        raise TypeError("Cannot reorder a query once a slice has been taken.")


def path_of(rows: QuerySet[Any], written: str) -> Path:
    """The path that ``field`` names. Raises FieldError if it leads to no vector."""
    query = rows.query
    if written in query.annotations:
        field, many, own = query.annotations[written].output_field, False, False
    else:
        names = written.split(LOOKUP_SEP)
        steps, field, _, _ = query.names_to_path(names, query.get_meta(), fail_on_missing=True)
        many, own = any(step.m2m for step in steps), not steps
    if not isinstance(getattr(field, "output_field", None) or field, AnyVectorField):
        class_name = type(field).__name__
        raise FieldError(f"nearest() needs a vector field, not the {class_name} {written!r}.")
    return Path(written, field, many, own)


def check_limits(k: Any, max_distance: Any, oversample: Any) -> None:
    """Raise ValueError for what is not a number, or out of range."""
    if oversample is not None and (not _is_int(oversample) or not 1 <= oversample <= 100):
        raise ValueError(f"nearest() takes oversample from 1 to 100, not {short(oversample)}.")
    check_rows("nearest", k)
    if max_distance is not None and not _is_number(max_distance):
        raise ValueError(f"nearest() takes a number as max_distance, not {short(max_distance)}.")


def check_recall(recall: Any) -> None:
    """Raise ValueError for anything but "high" and None."""
    if recall not in (None, "high"):
        raise ValueError(f"nearest() takes recall='high', or None, not {short(recall)}.")


def _is_int(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Whether a value is a real number within the range of float, including numpy's."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False
