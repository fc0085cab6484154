"""Vectors in django-filter's filter sets."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import QueryDict
from django_filters import FilterSet

from dorm_vector.contrib.django_filter import NearestFilter, VectorFilter
from tests.testapp.models import Full, Item

pytestmark = pytest.mark.django_db(databases="__all__")


class Items(FilterSet):
    near = NearestFilter("embedding", nearest_options={"metric": "l2"})
    like = NearestFilter(
        "embedding",
        embedder=lambda text: [float(len(text)), 0.0, 1.0],
        nearest_options={"metric": "l2", "k": 1},
    )

    class Meta:
        model = Item
        fields = {"name": ["exact"], "embedding": ["exact", "isnull"]}


@pytest.fixture
def items() -> list[Item]:
    vectors = [[1, 0, 1], [5, 0, 1], [2, 0, 1], None]
    return [Item.objects.create(name=f"{n}", embedding=each) for n, each in enumerate(vectors)]


def found(query: str) -> list[str]:
    return [row.name for row in Items(QueryDict(query), Item.objects.order_by("name")).qs]


class TestNearest:
    def test_by_key(self, items: Any) -> None:
        assert found(f"near={items[0].pk}") == ["2", "1"]

    def test_by_text(self, items: Any) -> None:
        assert found("like=five!") == ["1"]

    def test_with_another_filter(self, items: Any) -> None:
        assert found(f"near={items[0].pk}&name=1") == ["1"]

    def test_nothing_given(self, items: Any) -> None:
        assert found("near=") == ["0", "1", "2", "3"]

    @pytest.mark.parametrize("value", ["nobody", "99999"])
    def test_no_such_row(self, items: Any, value: str) -> None:
        filters = Items(QueryDict(f"near={value}"), Item.objects.all())
        assert not filters.is_valid()
        assert filters.errors == {"near": [f"There is no row '{value}'."]}

    def test_nul(self, items: Any) -> None:
        filters = Items(QueryDict("near=a%00b"), Item.objects.all())
        assert filters.errors == {"near": ["Null characters are not allowed."]}

    @pytest.mark.parametrize("alias", ["postgresql", "libsql"])
    def test_other_databases(self, alias: str) -> None:
        class Fulls(FilterSet):
            near = NearestFilter("a", nearest_options={"metric": "l2"})

            class Meta:
                model = Full
                fields = ["a"]

        rows = [Full.objects.using(alias).create(a=[n, 0, 1]) for n in (1, 5, 2)]
        filters = Fulls(QueryDict(f"near={rows[0].pk}"), Full.objects.using(alias))
        assert [row.a for row in filters.qs] == [[2, 0, 1], [5, 0, 1]]


class TestVectors:
    def test_exact(self, items: Any) -> None:
        assert found("embedding=[2,0,1]") == ["2"]
        assert found("embedding=2 0 1") == ["2"]

    def test_isnull(self, items: Any) -> None:
        assert found("embedding__isnull=True") == ["3"]

    def test_refused(self, items: Any) -> None:
        filters = Items(QueryDict("embedding=1,2"), Item.objects.all())
        assert filters.errors == {"embedding": ["Expected 3 dimensions, not 2."]}

    def test_all_fields(self) -> None:
        class All(FilterSet):
            class Meta:
                model = Item
                fields = "__all__"

        assert isinstance(All.base_filters["embedding"], VectorFilter)


class TestRESTFramework:
    """The filter sets for its views know the fields too."""

    def test_filters(self, items: list[Item]) -> None:
        from django_filters.rest_framework import FilterSet as ViewFilterSet

        class ForViews(ViewFilterSet):
            class Meta:
                model = Item
                fields = {"embedding": ["exact", "isnull"]}

        def found(query: str) -> list[str]:
            rows = Item.objects.order_by("name")
            return [row.name for row in ForViews(QueryDict(query), rows).qs]

        assert isinstance(ForViews.base_filters["embedding"], VectorFilter)
        assert found("embedding=5,0,1") == ["1"]
        assert found("embedding__isnull=true") == ["3"]
        assert ForViews(QueryDict("embedding=1"), Item.objects.all()).errors == {
            "embedding": ["Expected 3 dimensions, not 1."]
        }

    def test_schema(self, capsys: pytest.CaptureFixture[str]) -> None:
        """drf-spectacular names what is not understood on stderr."""
        from django_filters.rest_framework import DjangoFilterBackend
        from drf_spectacular.generators import SchemaGenerator
        from drf_spectacular.openapi import AutoSchema
        from rest_framework import serializers, viewsets
        from rest_framework.routers import SimpleRouter

        class ItemSerializer(serializers.ModelSerializer):
            class Meta:
                model = Item
                fields = ["name"]

        class View(viewsets.ReadOnlyModelViewSet):
            queryset = Item.objects.order_by("name")
            serializer_class = ItemSerializer
            filter_backends = [DjangoFilterBackend]
            filterset_class = Items
            schema = AutoSchema()

        router = SimpleRouter()
        router.register("items", View)
        schema = SchemaGenerator(patterns=router.urls).get_schema(public=True)
        parameters = schema["paths"]["/items/"]["get"]["parameters"]
        types = {each["name"]: each["schema"]["type"] for each in parameters}
        assert types == {
            "near": "string",
            "like": "string",
            "name": "string",
            "embedding": "string",
            "embedding__isnull": "boolean",
        }
        assert "could not resolve" not in capsys.readouterr().err
