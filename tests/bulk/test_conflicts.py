"""bulk_copy() where rows are there already."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import IntegrityError, transaction
from django.db.models import Value
from django.db.models.functions import Lower

from dorm_vector import bulk_copy
from tests.support.bulk import refused
from tests.support.matrix import only
from tests.testapp.models import Document, Item, Unique


class TestConflicts:
    @pytest.fixture
    def items(self, alias: str) -> Any:
        # Past what any sequence of these tables has come to.
        manager = Item.objects.using(alias)
        manager.create(pk=9001, name="one", category=1, embedding=[1, 1, 1])
        manager.create(pk=9002, name="two", category=2)
        return manager

    def rows(self) -> list[Item]:
        return [
            Item(name="one", category=10, embedding=[9, 9, 9]),
            Item(name="three", category=30),
            Item(pk=9002, name="zwei", category=20),
        ]

    def found(self, items: Any) -> dict[str, int]:
        return dict(items.values_list("name", "category"))

    def test_ignore(self, items: Any) -> None:
        assert bulk_copy(items, self.rows(), ignore_conflicts=True) == 3
        assert self.found(items) == {"one": 1, "two": 2, "three": 30}

    def test_update(self, items: Any) -> None:
        rows = self.rows()[:2]
        options = {"unique_fields": ["name"], "update_fields": ["category", "embedding"]}
        assert bulk_copy(items, rows, update_conflicts=True, **options) == 2
        assert self.found(items) == {"one": 10, "two": 2, "three": 30}
        assert items.get(name="one").pk == 9001
        assert items.get(name="one").embedding == [9, 9, 9]

    @pytest.mark.parametrize("unique", ["pk", "id"])
    def test_update_by_primary_key(self, items: Any, unique: str) -> None:
        rows = [Item(pk=9002, name="zwei", category=20), Item(pk=3, name="drei", category=30)]
        options = {"unique_fields": (unique,), "update_fields": ("name",)}
        bulk_copy(items, rows, update_conflicts=True, **options)
        assert self.found(items) == {"one": 1, "zwei": 2, "drei": 30}

    def test_other_columns_stay_checked(self, items: Any) -> None:
        with pytest.raises(IntegrityError), transaction.atomic(items.db):
            bulk_copy(
                items,
                [Item(pk=9001, name="two")],
                update_conflicts=True,
                unique_fields=["pk"],
                update_fields=["name"],
            )

    @only("postgresql")
    def test_null_is_refused(self, alias: str) -> None:
        rows = [Document(title="x", embedding=None)]
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Document.objects.using(alias), rows, ignore_conflicts=True)

    @only("sqlite", "libsql")
    def test_null_is_left_out(self, alias: str) -> None:
        """As INSERT OR IGNORE does."""
        rows = [Document(title="x", embedding=None)]
        assert bulk_copy(Document.objects.using(alias), rows, ignore_conflicts=True) == 1
        assert not Document.objects.using(alias).exists()

    def test_batches_and_mixed_rows(self, items: Any) -> None:
        rows = [*self.rows(), Item(name=Lower(Value("ONE"))), Item(name="four")]
        assert bulk_copy(items, rows, ignore_conflicts=True, batch_size=2) == 5
        assert set(self.found(items)) == {"one", "two", "three", "four"}

    def test_twice_in_one_transaction(self, items: Any) -> None:
        with transaction.atomic(items.db):
            for _ in range(2):
                bulk_copy(items, self.rows(), ignore_conflicts=True)
        assert items.count() == 3

    def test_same_key_twice_in_the_rows(self, items: Any) -> None:
        rows = [Item(name="new", category=1), Item(name="new", category=2)]
        bulk_copy(items, rows, ignore_conflicts=True)
        assert items.get(name="new").category == 1

    def test_by_a_vector(self, alias: str) -> None:
        manager = Unique.objects.using(alias)
        manager.create(embedding=[1, 2, 3], note="old")
        bulk_copy(
            manager,
            [Unique(embedding=[1, 2, 3], note="new"), Unique(embedding=[0, 0, 0], note="zero")],
            update_conflicts=True,
            unique_fields=["embedding"],
            update_fields=["note"],
        )
        assert set(manager.values_list("note", flat=True)) == {"new", "zero"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"ignore_conflicts": True, "update_conflicts": True},
                "ignore_conflicts and update_conflicts are mutually exclusive.",
            ),
            (
                {"update_conflicts": True, "unique_fields": ["name"]},
                "Fields that will be updated when a row insertion fails on conflicts must be "
                "provided.",
            ),
            (
                {"update_conflicts": True, "update_fields": ["category"]},
                "Unique fields that can trigger the upsert must be provided.",
            ),
            (
                {"update_conflicts": True, "unique_fields": ["name"], "update_fields": ["id"]},
                "bulk_create() cannot be used with primary keys in update_fields.",
            ),
        ],
    )
    def test_options_are_checked_as_in_bulk_create(
        self, items: Any, options: dict[str, Any], message: str
    ) -> None:
        for load in (items.bulk_create, lambda rows, **kw: bulk_copy(items, rows, **kw)):
            with refused() as caught:
                load(self.rows(), **options)
            assert str(caught.value) == message

    def test_unknown_field(self, items: Any) -> None:
        with pytest.raises(FieldDoesNotExist):
            bulk_copy(items, [], update_conflicts=True, unique_fields=["x"], update_fields=["y"])
