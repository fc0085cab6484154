"""The names that searches annotate their rows with."""

from __future__ import annotations

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model

__all__ = ["refuse_annotation", "refuse_field"]


def refuse_annotation(caller: str, name: str) -> None:
    """Raise ValueError for a name that the rows already have."""
    raise ValueError(
        f"{caller}() would annotate its rows with {name!r}, an annotation that they already have: "
        "pass another name as annotation=."
    )


def refuse_field(caller: str, model: type[Model], name: str) -> None:
    """Raise ValueError for a name that is a field of the model."""
    try:
        if name != "pk":
            model._meta.get_field(name)
    except FieldDoesNotExist:
        return
    raise ValueError(
        f"{caller}() would annotate its rows with {name!r}, which is a field of "
        f"{model._meta.label}: pass another name as annotation=."
    )
