"""Primary keys of rows that bulk_copy() loads."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.db import IntegrityError, connections, models, transaction
from django.test.utils import isolate_apps

from dorm_vector import bulk_copy
from tests.support.bulk import KEY, saved_and_copied
from tests.testapp.models import Composite, Item, Owner, TextKey


class TestPrimaryKeys:
    def test_not_set(self, alias: str) -> None:
        item = Item(name="one")
        bulk_copy(Item.objects.using(alias), [item])
        assert item.pk is None

    def test_with_and_without(self, alias: str) -> None:
        rows = [Item(pk=1_000_000 + n if n % 2 else None, name=f"{n}") for n in range(6)]
        bulk_copy(Item.objects.using(alias), rows)
        found = dict(Item.objects.using(alias).values_list("name", "pk"))
        assert [found[name] for name in "135"] == [1_000_001, 1_000_003, 1_000_005]
        assert len(set(found.values())) == 6

    def test_next_row_has_a_number_of_its_own(self, alias: str) -> None:
        bulk_copy(Item.objects.using(alias), [Item(name=f"{n}") for n in range(3)])
        Item.objects.using(alias).create(name="next")
        assert len(set(Item.objects.using(alias).values_list("pk", flat=True))) == 4

    def test_uuid(self, alias: str) -> None:
        rows = [Owner(name="made"), Owner(pk=KEY, name="given"), Owner(pk=None, name="default")]
        bulk_copy(Owner.objects.using(alias), rows)
        found = {row.name: row.pk for row in Owner.objects.using(alias).all()}
        assert found == {row.name: row.pk for row in rows}
        assert found["given"] == KEY

    def test_text_and_a_relation_to_the_same_table(self, alias: str) -> None:
        root = TextKey(name="root")
        rows = [root, TextKey(name="leaf", parent=root), TextKey(name="ä", parent_id="leaf")]
        bulk_copy(TextKey.objects.using(alias), rows)
        found = TextKey.objects.using(alias).values_list("name", "parent")
        assert set(found) == {("root", None), ("leaf", "root"), ("ä", "leaf")}

    def test_composite(self, alias: str) -> None:
        rows = [Composite(tenant=1, number=n, note=f"{n}") for n in range(3)]
        bulk_copy(Composite.objects.using(alias), rows)
        found = Composite.objects.using(alias).order_by("pk")
        assert [row.pk for row in found] == [(1, 0), (1, 1), (1, 2)]
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Composite.objects.using(alias), [Composite(tenant=1)])

    def test_automatic_key_that_makes_its_values(self, alias: str, transactional_db: None) -> None:
        """DEFAULT_AUTO_FIELD may name such a class."""
        numbers = itertools.count(7_000)

        class Counted(models.BigAutoField):
            def get_pk_value_on_save(self, instance: Any) -> int:
                return next(numbers)

        attributes = {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "dorm_vector", "db_table": "counted"}),
            "id": Counted(primary_key=True, auto_created=True),
        }
        with isolate_apps("dorm_vector"):
            model: Any = type("Numbered", (models.Model,), attributes)
        with connections[alias].schema_editor() as editor:
            editor.create_model(model)
        try:
            bulk_copy(model.objects.using(alias), (model() for _ in range(3)))
            found = model.objects.using(alias).order_by("pk").values_list("pk", flat=True)
            assert list(found) == [7000, 7001, 7002]
        finally:
            with connections[alias].schema_editor() as editor:
                editor.delete_model(model)

    def test_missing(self, alias: str) -> None:
        """Django takes the empty text for a key that is None."""
        saved, copied = saved_and_copied(alias, lambda: [TextKey(name=None)])
        assert copied == saved

    def test_taken(self, alias: str) -> None:
        Item.objects.using(alias).create(pk=5, name="five")
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), [Item(pk=4, name="4"), Item(pk=5, name="5")])
        assert Item.objects.using(alias).count() == 1
