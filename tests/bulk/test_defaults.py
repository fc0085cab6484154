"""Defaults and expressions in rows that bulk_copy() loads."""

from __future__ import annotations

import datetime
import warnings

import pytest
from django.core.exceptions import ValidationError
from django.db.models import F, Value
from django.db.models.functions import Lower

from dorm_vector import bulk_copy
from tests.support.bulk import UTC
from tests.testapp.models import Defaults, Generated, Item, OnlyKey, Stamped


class TestDefaults:
    def test_of_the_field_and_of_the_database(self, alias: str) -> None:
        rows = [Stamped(), Stamped(called=1), Stamped(given=2), Stamped(called=3, given=4)]
        before = datetime.datetime.now(UTC) - datetime.timedelta(minutes=1)
        assert bulk_copy(Stamped.objects.using(alias), rows) == 4
        found = list(Stamped.objects.using(alias).order_by("pk"))
        assert [(row.called, row.given) for row in found] == [(42, 7), (1, 7), (42, 2), (3, 4)]
        assert [row.doubled for row in found] == [84, 2, 84, 6]
        for row in found:
            assert min(row.now, row.created, row.changed) > before
        assert [row.changed for row in rows] == [row.changed for row in found]

    def test_of_vectors(self, alias: str) -> None:
        bulk_copy(Defaults.objects.using(alias), [Defaults(), Defaults(in_database=[1, 2, 3])])
        found = Defaults.objects.using(alias).order_by("pk").values_list("called", "in_database")
        assert [row[0] for row in found] == [[1, 0, 0]] * 2
        assert [row[1] for row in found] == [pytest.approx([0.5, 0.25, 0.1]), [1, 2, 3]]

    def test_generated(self, alias: str) -> None:
        bulk_copy(Generated.objects.using(alias), [Generated(embedding=[1, 2, 5])])
        row = Generated.objects.using(alias).get()
        assert (row.same, row.distance) == ([1, 2, 5], 2)

    def test_nothing_to_write(self, alias: str) -> None:
        assert bulk_copy(OnlyKey.objects.using(alias), [OnlyKey() for _ in range(3)]) == 3
        assert OnlyKey.objects.using(alias).count() == 3
        bulk_copy(OnlyKey.objects.using(alias), [OnlyKey(pk=100), OnlyKey()])
        assert OnlyKey.objects.using(alias).count() == 5


class TestExpressions:
    """A row that has one goes in as by bulk_create()."""

    def test_between_others(self, alias: str) -> None:
        names = ["A", Lower(Value("B")), "C", Value("D"), Lower(Value("E"))]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert bulk_copy(Item.objects.using(alias), [Item(name=name) for name in names]) == 5
        found = Item.objects.using(alias).order_by("pk").values_list("name", flat=True)
        assert list(found) == ["A", "b", "C", "D", "e"]

    def test_error_names_the_row(self, alias: str) -> None:
        rows = [Item(name="1"), Item(name=Lower(Value("2")), embedding=[1])]
        with pytest.raises(ValidationError) as caught:
            bulk_copy(Item.objects.using(alias), rows)
        message = "Row 2: testapp.Item.embedding: Expected 3 dimensions, not 1."
        assert caught.value.messages == [message]

    def test_reference_to_a_column(self, alias: str) -> None:
        with pytest.raises(ValueError, match=r"F\(\) expressions can only be used to update"):
            bulk_copy(Item.objects.using(alias), [Item(name=F("category"))])
