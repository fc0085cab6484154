"""The database that bulk_copy() loads into."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import Value
from django.db.models.functions import Lower
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from dorm_vector import VectorQuerySet, bulk_copy
from tests.support.bulk import items_with
from tests.testapp.models import Chunk, Document, Item, ItemProxy, Odd


class ToPostgreSQL:
    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "postgresql"


class TestWhereTo:
    def test_model(self, db: None) -> None:
        bulk_copy(Item, [Item(name="one")])
        assert Item.objects.using("default").count() == 1

    def test_manager_and_queryset(self, alias: str) -> None:
        bulk_copy(Item.objects.db_manager(alias), [Item(name="one")])
        bulk_copy(Item.objects.using(alias), [Item(name="two")])
        bulk_copy(Item.objects.using(alias).filter(name="none"), [Item(name="three")])
        assert Item.objects.using(alias).count() == 3

    def test_router(self, db: None, settings: Any) -> None:
        settings.DATABASE_ROUTERS = [ToPostgreSQL()]
        for place in (Item, Item.objects, Item.objects.all()):
            bulk_copy(place, [Item(name=f"{place}")])
        assert Item.objects.using("postgresql").count() == 3
        assert not Item.objects.using("default").exists()

    def test_method(self, alias: str) -> None:
        queryset = VectorQuerySet(Item, using=alias)
        assert queryset.bulk_copy([Item(name="one")], progress=print) == 1
        manager = VectorQuerySet.as_manager()
        manager.model = Item
        assert manager.using(alias).bulk_copy(iter([Item(name="two")])) == 1
        assert Item.objects.using(alias).count() == 2

    def test_related_manager(self, alias: str) -> None:
        document = Document.objects.using(alias).create(embedding=[1, 2, 3])
        bulk_copy(document.chunks, [Chunk(document=document)])
        assert document.chunks.count() == 1

    def test_proxy(self, alias: str) -> None:
        bulk_copy(ItemProxy.objects.using(alias), [ItemProxy(name="one"), Item(name="two")])
        bulk_copy(Item.objects.using(alias), [ItemProxy(name="three")])
        assert Item.objects.using(alias).count() == 3

    def test_odd_names(self, alias: str) -> None:
        manager = Odd.objects.using(alias)
        bulk_copy(manager, [Odd(name="one", vector=[1, 2, 3]), Odd(name="two")])
        bulk_copy(manager, [Odd(name="one"), Odd(name="three")], ignore_conflicts=True)
        bulk_copy(
            manager,
            [Odd(name="two", vector=[3, 2, 1])],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["vector"],
        )
        found = dict(manager.values_list("name", "vector"))
        assert found == {"one": [1, 2, 3], "two": [3, 2, 1], "three": None}

    @pytest.mark.parametrize("options", [{}, {"batch_size": 5}, {"ignore_conflicts": True}])
    def test_nothing(self, alias: str, options: dict[str, Any]) -> None:
        for nothing in ([], (), iter(()), Item.objects.using(alias).none()):
            assert bulk_copy(Item.objects.using(alias), nothing, **options) == 0

    def test_no_signals(self, alias: str) -> None:
        sent: list[Any] = []

        def note(sender: Any, **kwargs: Any) -> None:
            sent.append(sender)

        for signal in (pre_save, post_save):
            signal.connect(note, sender=Item)
        try:
            bulk_copy(Item.objects.using(alias), items_with({}))
        finally:
            for signal in (pre_save, post_save):
                signal.disconnect(note, sender=Item)
        assert sent == []

    def test_statements(self, alias: str) -> None:
        with CaptureQueriesContext(connections[alias]) as captured:
            bulk_copy(Item.objects.using(alias), items_with({}))
        if alias == "postgresql":
            (query,) = (query["sql"] for query in captured)
            assert query.startswith('COPY "testapp_item" ("name", ')
        else:
            assert len([q for q in captured if "INSERT INTO" in q["sql"]]) == 1

    @pytest.mark.parametrize("binding", [True, False])
    def test_server_side_binding(
        self, open_database: Any, django_db_setup: None, binding: bool
    ) -> None:
        open_database("postgresql", OPTIONS={"server_side_binding": binding})
        with transaction.atomic("scratch"):
            rows = [Item(name=f"ä {binding}", embedding=[1, 2, 3]), Item(name=Lower(Value("B")))]
            bulk_copy(Item.objects.using("scratch"), rows)
            bulk_copy(Item.objects.using("scratch"), rows[:1], ignore_conflicts=True)
            assert Item.objects.using("scratch").count() == 2
            transaction.set_rollback(True, "scratch")
