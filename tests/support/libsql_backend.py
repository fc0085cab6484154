"""Models and connections for the tests of the libSQL backend."""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, models
from django.db.models import Q

from dorm_vector.backends.libsql.base import DatabaseWrapper

__all__ = [
    "MODELS",
    "MOMENTS",
    "Author",
    "Book",
    "Moment",
    "Sample",
    "another",
    "create",
    "create_tables",
    "insert",
    "moments",
    "names",
    "nearly",
    "one",
    "only_in",
    "ordered",
    "rows_of",
    "same",
]


class Author(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        app_label = "libsql_backend"

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE)
    title = models.CharField(max_length=50, unique=True)
    pages = models.IntegerField(default=1)
    note = models.CharField(max_length=10, null=True)

    class Meta:
        app_label = "libsql_backend"
        constraints = [
            models.CheckConstraint(condition=Q(pages__gt=0), name="pages_positive"),
            models.UniqueConstraint(fields=["author", "title"], name="author_title"),
        ]
        indexes = [models.Index(fields=["pages", "-title"], name="pages_title")]

    def __str__(self) -> str:
        return self.title


class Sample(models.Model):
    """A bit of everything, for expressions."""

    group = models.IntegerField(default=0)
    big = models.BigIntegerField(null=True)
    number = models.FloatField(null=True)
    text = models.CharField(max_length=100, null=True)
    other = models.CharField(max_length=100, null=True)
    exact = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    data = models.JSONField(null=True)
    blob = models.BinaryField(null=True)

    class Meta:
        app_label = "libsql_backend"

    def __str__(self) -> str:
        return f"{self.pk}"


class Moment(models.Model):
    at = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    time = models.TimeField(null=True)
    length = models.DurationField(null=True)

    class Meta:
        app_label = "libsql_backend"

    def __str__(self) -> str:
        return f"{self.pk}"


MODELS = [Author, Book, Sample, Moment]


def create_tables(connection: Any) -> None:
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)


def insert(both: tuple[str, str], model: type[models.Model], rows: list[dict[str, Any]]) -> None:
    for alias in both:
        model._base_manager.using(alias).bulk_create(model(**row) for row in rows)


@contextmanager
def another(path: Path, **options: Any) -> Iterator[DatabaseWrapper]:
    """One more connection to a file, for a thread."""
    settings_dict = {**connections["libsql"].settings_dict, "NAME": str(path), "OPTIONS": options}
    connection = DatabaseWrapper(settings_dict, alias="another")
    try:
        yield connection
    finally:
        connection.close()


def one(connection: Any, sql: str, params: Any = ()) -> Any:
    ((value,),) = connection.execute(sql, params).fetchall()
    return value


def names() -> list[str]:
    return sorted(Author.objects.using("scratch").values_list("name", flat=True))


def create(name: str) -> Author:
    return Author.objects.using("scratch").create(name=name)


def same(both: tuple[str, str], queryset: Any, check: Callable[..., Any] = operator.eq) -> None:
    """The rows of a queryset are those of Django's own SQLite backend."""
    expected, found = (list(queryset.using(alias)) for alias in both)
    assert len(expected) > 0
    assert len(expected) == len(found)
    differing = [pair for pair in zip(expected, found, strict=True) if not check(*pair)]
    assert differing == []


def nearly(expected: Any, found: Any) -> bool:
    if isinstance(expected, tuple):
        return all(map(nearly, expected, found))
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(nearly(expected[k], found[k]) for k in found)
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-9)
    return bool(expected == found)


def only_in(name: str, module: Any) -> Any:
    """What some versions of Django have."""
    if not hasattr(module, name):
        pytest.skip(f"This Django has no {name}.")
    return getattr(module, name)


MOMENTS = [
    "1800-02-28 23:59:59.999999",
    "1883-11-18 17:00:00",
    "1969-12-31 23:59:59.000001",
    "1970-01-01 00:00:00",
    "2016-01-01 00:00:00",
    "2020-02-29 12:34:56.5",
    "2020-12-31 23:59:59.999999",
    "2021-01-03 12:00:00",
    "2021-01-04 00:00:00",
    "2024-12-30 00:00:00.000001",
    # The hours before and after changes in Berlin, New York, Lord Howe and Casablanca.
    "2026-03-29 00:59:59.999999",
    "2026-03-29 01:00:00",
    "2026-10-25 00:59:59.999999",
    "2026-10-25 01:00:00",
    "2026-03-08 06:59:59",
    "2026-03-08 07:00:00",
    "2026-11-01 05:59:59",
    "2026-11-01 06:00:00",
    "2026-04-04 14:59:59.999999",
    "2026-04-04 15:00:00",
    "2026-10-03 15:29:59.999999",
    "2026-10-03 15:30:00",
    "2026-02-15 01:59:59",
    "2026-02-15 02:00:00",
    "2087-07-01 12:00:00",
    "2500-07-01 22:30:00",
    "9998-10-31 01:30:00",
]


def moments(texts: list[str]) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in texts]


def rows_of(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"at": moment, "day": moment.date(), "time": moment.time()} for moment in moments(texts)
    ]


def ordered(**annotations: Any) -> Any:
    return Moment.objects.annotate(**annotations).order_by("pk").values_list("at", *annotations)
