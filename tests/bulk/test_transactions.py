"""bulk_copy() in transactions and out of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from dorm_vector import bulk_copy
from tests.support.bulk import items_with
from tests.testapp.models import Full, Item

autocommit = pytest.mark.django_db(databases="__all__", transaction=True)


@autocommit
@pytest.mark.parametrize("alias", list(django_settings.ENGINES))
class TestTransactions:
    @pytest.fixture(autouse=True)
    def emptied(self, alias: str) -> Iterator[None]:
        yield
        Item.objects.using(alias).all().delete()

    def test_one(self, alias: str) -> None:
        with pytest.raises(ValidationError, match="Row 3: "):
            bulk_copy(Item.objects.using(alias), items_with({"embedding": [1, 2]}))
        assert not Item.objects.using(alias).exists()
        assert bulk_copy(Item.objects.using(alias), items_with({})) == 5
        assert Item.objects.using(alias).count() == 5

    def test_batches_before_an_error_stay(self, alias: str) -> None:
        with pytest.raises(ValidationError, match="Row 3: "):
            bulk_copy(Item.objects.using(alias), items_with({"embedding": [1]}), batch_size=2)
        assert set(Item.objects.using(alias).values_list("name", flat=True)) == {"1", "2"}

    @pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 100])
    def test_every_batch_size(self, alias: str, size: int) -> None:
        assert bulk_copy(Item.objects.using(alias), items_with({}), batch_size=size) == 5
        assert Item.objects.using(alias).count() == 5

    def test_part_of_an_outer_one(self, alias: str) -> None:
        for size in (None, 2):
            with transaction.atomic(alias):
                bulk_copy(Item.objects.using(alias), items_with({}), batch_size=size)
                assert Item.objects.using(alias).count() == 5
                transaction.set_rollback(True, alias)
            assert not Item.objects.using(alias).exists()

    def test_error_spoils_the_outer_one(self, alias: str) -> None:
        with transaction.atomic(alias):
            Item.objects.using(alias).create(name="before")
            with pytest.raises(IntegrityError):
                bulk_copy(Item.objects.using(alias), items_with({"name": None}))
            with pytest.raises(transaction.TransactionManagementError):
                Item.objects.using(alias).exists()
            transaction.set_rollback(True, alias)
        assert not Item.objects.using(alias).exists()

    def test_connection_is_usable_after_an_error(self, alias: str) -> None:
        with transaction.atomic(alias):
            with pytest.raises(IntegrityError), transaction.atomic(alias):
                bulk_copy(Item.objects.using(alias), items_with({"name": None}))
            assert bulk_copy(Item.objects.using(alias), items_with({})) == 5
        assert Item.objects.using(alias).count() == 5

    def test_from_an_iterator_over_the_same_database(self, alias: str) -> None:
        bulk_copy(Item.objects.using(alias), items_with({}))
        for size in (None, 2):
            items = Item.objects.using(alias).order_by("pk").iterator(chunk_size=2)
            rows = (Full(a=item.embedding, group=item.pk) for item in items)
            assert bulk_copy(Full.objects.using(alias), rows, batch_size=size) == 5
        assert Full.objects.using(alias).count() == 10
        Full.objects.using(alias).all().delete()
