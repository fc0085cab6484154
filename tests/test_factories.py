"""Random vectors of model_bakery and factory_boy."""

from __future__ import annotations

from typing import Any

import factory
import factory.random
import numpy as np
import pytest
from factory.django import DjangoModelFactory
from model_bakery import baker

from dorm_vector.contrib import model_bakery
from dorm_vector.contrib.factory_boy import VectorFaker
from tests.testapp.models import Bits, Full, Half, Item, Sparse

pytestmark = pytest.mark.django_db(databases="__all__")
model_bakery.register()


class Items(DjangoModelFactory):
    class Meta:
        model = Item

    class Params:
        both = factory.Trait(other=VectorFaker("other"))

    name = factory.Sequence(str)
    embedding = VectorFaker()


@pytest.mark.parametrize("alias", ["default", "postgresql", "libsql"])
class TestBakery:
    def test_vectors(self, alias: str) -> None:
        first, second = baker.make(Full, 2, _using=alias, _fill_optional=True)
        first.refresh_from_db()
        assert np.linalg.norm(first.a) == pytest.approx(1)
        assert first.a != second.a

    @pytest.mark.parametrize("model", [Half, Bits])
    def test_other_kinds(self, alias: str, model: Any) -> None:
        row = baker.make(model, _using=alias, _fill_optional=True)
        row.refresh_from_db()
        assert len(row.a) == model._meta.get_field("a").dimensions


def test_sparse() -> None:
    row = baker.make(Sparse, _using="postgresql", _fill_optional=True)
    row.refresh_from_db()
    assert row.a.dimensions() == 5


class TestFactoryBoy:
    def test_vectors(self) -> None:
        first, second = Items.create_batch(2)
        assert np.linalg.norm(first.embedding) == pytest.approx(1)
        assert first.embedding != second.embedding
        assert first.other is None

    def test_seeded(self) -> None:
        factory.random.reseed_random(7)
        first = Items.build().embedding
        factory.random.reseed_random(7)
        assert Items.build().embedding == first

    def test_a_trait(self) -> None:
        assert len(Items(both=True).other) == 3

    def test_a_given_one(self) -> None:
        assert Items(embedding=[1, 2, 3]).embedding == [1, 2, 3]

    def test_a_name_that_is_not_known(self) -> None:
        trait = factory.Trait(other=VectorFaker())
        made = type("Made", (Items,), {"Params": type("Params", (), {"some": trait})})
        with pytest.raises(
            ValueError, match=r'^Name the field of the model: VectorFaker\("embedding"\)\.$'
        ):
            made(some=True)
