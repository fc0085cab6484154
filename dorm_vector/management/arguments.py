"""Arguments of commands: databases, models and fields, each refused in one sentence."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router

from dorm_vector.fields import AnyVectorField

__all__ = [
    "add_database",
    "as_json",
    "database",
    "number_from",
    "reached",
    "table_of",
    "vector_field",
]


def add_database(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--database", default=DEFAULT_DB_ALIAS, help='A database; "default" by default.'
    )


def database(alias: str) -> str:
    """The alias of a database of the settings."""
    if alias not in connections:
        known = ", ".join(map(repr, connections))
        raise CommandError(f"There is no database {alias!r} in the settings; use {known}.")
    return alias


@contextmanager
def reached(alias: str) -> Iterator[None]:
    """Raise CommandError, in one sentence, if a database cannot be asked."""
    try:
        yield
    except DatabaseError as error:
        raise CommandError(f"The database {alias!r}: {error}") from error


def vector_field(label: str) -> tuple[Any, Any]:
    """The model and the field of ``app.Model.field``."""
    model_label, _, name = label.rpartition(".")
    try:
        model = apps.get_model(model_label)
        field = model._meta.get_field(name)
    except (LookupError, ValueError):
        raise CommandError(
            f"There is no model for {label!r}: name fields as app.Model.field."
        ) from None
    except FieldDoesNotExist:
        raise CommandError(f"{model._meta.label} has no field {name!r}.") from None
    if not isinstance(getattr(field, "output_field", None) or field, AnyVectorField):
        fields = ", ".join(
            each.name
            for each in model._meta.concrete_fields
            if isinstance(getattr(each, "output_field", None) or each, AnyVectorField)
        )
        raise CommandError(
            f"{model._meta.label}.{name} holds no vectors; the vector fields are: "
            f"{fields or 'none'}."
        )
    return model, field


def table_of(model: Any, alias: str) -> Any:
    """The concrete model, whose table the database has."""
    model = model._meta.concrete_model
    if not router.allow_migrate_model(alias, model):
        raise CommandError(f"{model._meta.label} does not belong to the database {alias!r}.")
    with reached(alias):
        tables = connections[alias].introspection.table_names(include_views=True)
    if model._meta.db_table not in tables:
        raise CommandError(
            f"{model._meta.label}: its table is not in the database {alias!r}: migrate first."
        )
    return model


def number_from(
    least: float, greatest: float = float("inf"), number_type: type = int
) -> Callable[[str], Any]:
    """A reader of numbers within a range for argparse, which names the option in its message."""

    def read(text: str) -> Any:
        try:
            number = number_type(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= greatest:
            wanted = f"{least} or more" if greatest == float("inf") else f"{least} to {greatest}"
            raise ArgumentTypeError(f"takes {wanted}, not {text!r}")
        return number

    return read


def as_json(value: object) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, indent=2)
