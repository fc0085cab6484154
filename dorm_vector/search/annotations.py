"""The names that searches annotate their rows with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import QuerySet

from dorm_vector.values import short

__all__ = ["check_annotation"]


def check_annotation(
    caller: str,
    rows: QuerySet[Any],
    name: object,
    is_replaced: Callable[[Any], bool] = lambda there: False,
) -> None:
    """
    Raise ValueError for a name that the rows already have, and TypeError for what is no name.

    ``is_replaced`` says whether an annotation may give its name to another one.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"{caller}() takes a name as annotation=, not {short(name)}.")
    if "%" in name:  # psycopg would take it for a parameter
        raise ValueError(f"{caller}() takes an annotation= without a percent sign, not {name!r}.")
    query: Any = rows.query
    there = query.annotations.get(name)
    is_taken = there is not None and not is_replaced(there)
    if is_taken or name in query.extra or name in query._filtered_relations:
        raise ValueError(
            f"{caller}() would annotate its rows with {name!r}, an annotation that they already "
            "have: pass another name as annotation=."
        )
    _refuse_field(caller, query.model, name)


def _refuse_field(caller: str, model: Any, name: str) -> None:
    try:
        if name != "pk":
            model._meta.get_field(name)
    except FieldDoesNotExist:
        return
    raise ValueError(
        f"{caller}() would annotate its rows with {name!r}, which is a field of "
        f"{model._meta.label}: pass another name as annotation=."
    )
