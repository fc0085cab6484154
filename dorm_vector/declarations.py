"""
Vectors in declarations: ``default``, ``db_default``, constraints, conditions, generated fields.

Migrations write declarations as Python, and Django compares them with ``==``. Arrays allow neither:
in models with vector fields they become lists of Python's numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.db import router
from django.db.models import Expression, Field, Model, Q, Value
from django.db.models.signals import class_prepared
from pgvector import Bit, HalfVector, SparseVector, Vector

__all__ = ["kinds_held", "may_hold_vectors", "plain", "settle"]

# Attributes of constraints and indexes that hold conditions and expressions.
PARTS = ("condition", "check", "expressions")


def plain(value: object) -> Any:
    """A value as lists, dicts and Python's numbers, or as text; anything else unchanged."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(place): plain(number) for place, number in value.items()}
    if isinstance(value, Bit | SparseVector):
        return value.to_text()
    if isinstance(value, Vector | HalfVector):
        return value.to_list()
    if isinstance(value, array | memoryview):
        return value.tolist() if getattr(value, "format", "") != "B" else bytes(value)
    if hasattr(value, "tocoo"):  # scipy's
        return SparseVector(value).to_text()
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # numpy's arrays and numbers
        return value.tolist()
    return value


def settle(declared: Any) -> None:
    """Replace the values in a condition or an expression by plain ones, in place."""
    if isinstance(declared, Q):
        declared.children[:] = [_settled(child) for child in declared.children]
    elif isinstance(declared, list | tuple):
        for each in declared:
            settle(each)
    elif hasattr(declared, "get_source_expressions"):
        _settle_arguments(declared)
        for source in _sources(declared):
            settle(source)


def _settled(child: Any) -> Any:
    if isinstance(child, tuple):
        name, value = child
        settle(value)
        return (name, plain(value))
    settle(child)
    return child


def _settle_arguments(expression: Any) -> None:
    """What a lookup compares with, what a Value holds, and the arguments that made them."""
    for name in ("value", "rhs"):
        if (isinstance(expression, Value) or name == "rhs") and name in vars(expression):
            setattr(expression, name, plain(getattr(expression, name)))
    if given := vars(expression).get("_constructor_args"):
        args, kwargs = given
        settled = {name: plain(value) for name, value in kwargs.items()}
        expression._constructor_args = (tuple(map(plain, args)), settled)


def _sources(expression: Expression) -> Iterator[Any]:
    for source in expression.get_source_expressions():
        if hasattr(source, "get_source_expressions") or isinstance(source, Q):
            yield source


def _settle_model(sender: type[Model], **kwargs: object) -> None:
    fields: list[Any] = sender._meta.local_fields
    if not any(_holds_vectors(_output(field)) for field in fields):
        return
    for field in fields:
        settle(vars(field).get("expression"))
    for declared in (*sender._meta.constraints, *sender._meta.indexes):
        for part in PARTS:
            settle(vars(declared).get(part))


def _holds_vectors(field: Any) -> bool:
    return getattr(field, "holds_vectors", False)


def _output(field: Field[Any, Any]) -> Any:
    return getattr(field, "base_field", field)


def may_hold_vectors(aliases: Sequence[str]) -> bool:
    """Whether a model with a vector field belongs to one of these databases."""
    return any(
        router.allow_migrate_model(alias, model)
        for model in apps.get_models()
        if any(_holds_vectors(field) for field in model._meta.local_fields)
        for alias in aliases
    )


def kinds_held(alias: str) -> tuple[set[str], set[str]]:
    """The kinds of vectors that a database is to hold, and the labels of their apps."""
    held = [
        (field.kind, model._meta.app_label)
        for model in apps.get_models()
        for field in model._meta.local_fields
        if hasattr(field, "kind") and _holds_vectors(field)
        if router.allow_migrate_model(alias, model)
    ]
    return {kind for kind, _ in held}, {label for _, label in held}


class_prepared.connect(_settle_model, dispatch_uid="dorm_vector_declarations")
