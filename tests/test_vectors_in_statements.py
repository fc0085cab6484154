"""What Django itself writes around vectors is let through: it hands them on, or compares them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Value, When, Window
from django.db.models.functions import Coalesce, RowNumber

from tests.testapp.models import Defaults

CALLED = Defaults._meta.get_field("called")


@pytest.fixture
def rows(alias: str) -> Any:
    manager = Defaults.objects.using(alias)
    manager.bulk_create([Defaults(pk=1), Defaults(pk=2, called=[1, 1, 1], in_database=[2, 2, 2])])
    return manager


def test_a_conflict_that_updates(rows: Any) -> None:
    changed = [Defaults(pk=1, in_database=[3, 3, 3]), Defaults(pk=9)]
    options = {"unique_fields": ["id"], "update_fields": ["in_database"]}
    rows.bulk_create(changed, update_conflicts=True, **options)
    assert rows.get(pk=1).in_database == [3, 3, 3]
    assert rows.count() == 3


def test_bulk_update(rows: Any) -> None:
    found = list(rows.all())
    for row in found:
        row.called = [4, 4, row.pk]
    rows.bulk_update(found, ["called"])
    assert [row.called for row in rows.order_by("pk")] == [[4, 4, 1], [4, 4, 2]]


def test_update_by_a_case(rows: Any) -> None:
    other = Value([1, 2, 3], output_field=CALLED)
    rows.update(called=Case(When(pk=2, then=F("in_database")), default=other))
    assert [row.called for row in rows.order_by("pk")] == [[1, 2, 3], [2, 2, 2]]


@pytest.mark.parametrize(
    ("narrowed", "keys"),
    [
        (lambda rows: rows.annotate(c=Coalesce("called", "in_database")).filter(c=[1, 1, 1]), [2]),
        (lambda rows: rows.filter(Exists(rows.filter(called=OuterRef("called")))), [1, 2]),
        (lambda rows: rows.filter(called__in=rows.filter(pk=2).values("called")), [2]),
        (lambda rows: rows.filter(~Q(called=[1, 1, 1])), [1]),
        (lambda rows: rows.annotate(n=Window(RowNumber(), partition_by=[F("called")])), [1, 2]),
        (lambda rows: rows.distinct(), [1, 2]),
    ],
)
def test_queries(rows: Any, narrowed: Any, keys: list[int]) -> None:
    assert sorted(row.pk for row in narrowed(rows)) == keys


def test_groups(rows: Any) -> None:
    groups = rows.values("in_database").annotate(n=Count("pk"))
    assert sorted(group["n"] for group in groups) == [1, 1]
