"""What the database shows of rows that were saved and of rows that were copied."""

from __future__ import annotations

import datetime
import functools
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, models

from dorm_vector import bulk_copy
from tests.testapp.models import Item

__all__ = [
    "KEY",
    "KOLKATA",
    "NEW_YORK",
    "UTC",
    "items_with",
    "refused",
    "saved_and_copied",
    "shown",
]

UTC = datetime.UTC
KOLKATA = zoneinfo.ZoneInfo("Asia/Kolkata")
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
KEY = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
refused = functools.partial(pytest.raises, ValueError)


def shown(alias: str, model: type[models.Model]) -> list[Any]:
    """What the database says of a table's rows: all that there is to tell them apart."""
    connection = connections[alias]
    table = connection.ops.quote_name(model._meta.db_table)
    columns = [connection.ops.quote_name(f.column) for f in model._meta.concrete_fields]
    if connection.vendor == "postgresql":
        told = ", ".join(f"{column}::text" for column in columns)
    else:
        told = ", ".join(f"typeof({column}), quote({column})" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {told} FROM {table} ORDER BY 1")
        return cursor.fetchall()


def saved_and_copied(alias: str, make: Callable[[], list[Any]]) -> tuple[list[Any], list[Any]]:
    """What the database shows of the same rows, loaded in both ways."""
    rows = make()
    model = type(rows[0])
    for row in rows:
        row.save(using=alias, force_insert=True)
    saved = shown(alias, model)
    model.objects.using(alias).all().delete()
    assert bulk_copy(model.objects.using(alias), iter(make())) == len(rows)
    copied = shown(alias, model)
    model.objects.using(alias).all().delete()
    return saved, copied


def items_with(third: dict[str, Any]) -> Iterator[Item]:
    for number in range(1, 6):
        row: dict[str, Any] = {"name": f"{number}", "embedding": [1, 2, 3]}
        yield Item(**row | (third if number == 3 else {}))
