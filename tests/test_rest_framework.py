"""Vectors in Django REST framework: serializers, what is nearest, and schemas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.test import override_settings
from django.urls import include, path
from pgvector import SparseVector
from rest_framework import routers, serializers, viewsets
from rest_framework.test import APIClient, APIRequestFactory

from dorm_vector.contrib import rest_framework as vectors
from tests.testapp.models import Chunk, Document, Full, Item, Numpy, Sparse

vectors.register()


class ItemSerializer(serializers.ModelSerializer):
    distance = serializers.FloatField(read_only=True)

    class Meta:
        model = Item
        fields = ["id", "name", "embedding", "distance"]


class SubSerializer(serializers.ModelSerializer):
    class Meta:
        model = Numpy
        fields = ["vector", "half", "bits"]


class SparseSerializer(serializers.ModelSerializer):
    class Meta:
        model = Sparse
        fields = ["a"]


def embed(text: str) -> list[float]:
    return [float(len(text)), 0.0, 1.0]


class Items(viewsets.ModelViewSet):
    queryset = Item.objects.order_by("pk")
    serializer_class = ItemSerializer
    filter_backends = [vectors.NearestFilterBackend]
    nearest_field = "embedding"
    nearest_metric = "l2"
    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []


class EmbeddedItems(Items):
    nearest_embedder = staticmethod(embed)
    nearest_k = 2


router = routers.SimpleRouter()
router.register("items", Items)
router.register("embedded", EmbeddedItems, basename="embedded")
urlpatterns = [path("", include(router.urls))]

pytestmark = [
    pytest.mark.django_db(databases="__all__"),
    pytest.mark.urls(__name__),
]


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def items() -> list[Item]:
    vectors = [[1, 0, 1], [5, 0, 1], [2, 0, 1], None]
    return [Item.objects.create(name=f"{n}", embedding=each) for n, each in enumerate(vectors)]


class TestSerializers:
    def test_round_trip(self, client: APIClient) -> None:
        sent = {"name": "one", "embedding": [0.1, -2, 3e30]}
        made = client.post("/items/", sent, format="json")
        assert made.status_code == 201
        expected = np.array([0.1, -2, 3e30], "f4").astype(float).tolist()
        assert made.json()["embedding"] == expected
        assert client.get(f"/items/{made.json()['id']}/").json()["embedding"] == expected
        assert Item.objects.get().embedding == expected

    def test_null(self, client: APIClient) -> None:
        made = client.post("/items/", {"name": "one", "embedding": None}, format="json")
        assert (made.status_code, made.json()["embedding"]) == (201, None)

    def test_forms_take_text(self, client: APIClient) -> None:
        made = client.post("/items/", {"name": "one", "embedding": "1, 2 3"}, format="multipart")
        assert made.json()["embedding"] == [1, 2, 3]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([1, 2], "Expected 3 dimensions, not 2."),
            ([1, 2, 3, 4], "Expected 3 dimensions, not 4."),
            ([], "Expected 3 dimensions, not 0."),
            ([1, "x", 3], "Component 1 is 'x', not a number."),
            ([1, "2", 3], "Component 1 is '2', not a number."),
            ([1, None, 3], "Component 1 is null, not a number."),
            ([1, True, 3], "Component 1 is true, not a number."),
            ([1, [2], 3], "Component 1 is an array, not a number."),
            ([1, {}, 3], "Component 1 is an object, not a number."),
            ([1, 2, 1e39], "Component 2 is 1e+39, beyond the range of float32."),
            (
                [1, 2, 10**400],
                f"Component 2 is 1{'0' * 17}...{'0' * 19}, beyond the range of float32.",
            ),
            ({"a": 1}, "Expected an array of numbers, not an object."),
            (7, "Expected an array of numbers, not 7."),
            (True, "Expected an array of numbers, not true."),
            ("hello", "'hello' is not a vector."),
            ("1 2 x", "Component 2 is 'x', not a number."),
            ("1 2 nan", "Component 2 is NaN."),
        ],
    )
    def test_refused(self, client: APIClient, given: Any, message: str) -> None:
        answer = client.post("/items/", {"name": "one", "embedding": given}, format="json")
        assert (answer.status_code, answer.json()) == (400, {"embedding": [message]})
        assert not Item.objects.exists()

    def test_numpy_and_other_kinds(self) -> None:
        serializer = SubSerializer(
            data={"vector": [1, 2, 3], "half": [0.1, 2, 3], "bits": "0110100110"}
        )
        assert serializer.is_valid(), serializer.errors
        row = serializer.save()
        row.refresh_from_db()
        assert SubSerializer(row).data == {
            "vector": [1, 2, 3],
            "half": np.array([0.1, 2, 3], "f2").astype(float).tolist(),
            "bits": "0110100110",
        }

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("012", "'012' is not a bit string."),
            ("0110", "Expected 10 bits, not 4."),
            ([0, 1], "Expected text of 0 and 1, not an array."),
            (7, "Expected text of 0 and 1, not 7."),
        ],
    )
    def test_refused_bits(self, given: Any, message: str) -> None:
        serializer = SubSerializer(data={"bits": given})
        assert not serializer.is_valid()
        assert serializer.errors["bits"] == [message]

    def test_sparse(self) -> None:
        given = {"indices": [0, 3], "values": [0.5, -2.0], "dimensions": 5}
        serializer = SparseSerializer(data={"a": given})
        assert serializer.is_valid(), serializer.errors
        assert serializer.validated_data["a"] == SparseVector({0: 0.5, 3: -2.0}, 5)
        row = Sparse.objects.using("postgresql").create(**serializer.validated_data)
        row.refresh_from_db()
        assert SparseSerializer(row).data == {"a": given}

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([1], 'Expected {"indices": [...], "values": [...], "dimensions": ...}, not an array.'),
            ({}, 'Expected {"indices": [...], "values": [...], "dimensions": ...}, not an object.'),
            (
                {"indices": [0], "values": [], "dimensions": 5},
                "Expected as many indices as values.",
            ),
            (
                {"indices": [5], "values": [1], "dimensions": 5},
                "Index 0 is 5: expected one from 0 to 4, each once.",
            ),
            (
                {"indices": [1, 1], "values": [1, 2], "dimensions": 5},
                "Index 1 is 1: expected one from 0 to 4, each once.",
            ),
            (
                {"indices": [1], "values": ["x"], "dimensions": 5},
                "Value 0 is 'x', not a number.",
            ),
            ({"indices": [], "values": [], "dimensions": 4}, "Expected 5 dimensions, not 4."),
            (
                {"indices": [], "values": [], "dimensions": "5"},
                "Expected dimensions of 1 or more, not '5'.",
            ),
        ],
    )
    def test_refused_sparse(self, given: Any, message: str) -> None:
        serializer = SparseSerializer(data={"a": given})
        assert not serializer.is_valid()
        assert serializer.errors["a"] == [message]

    def test_without_a_model(self) -> None:
        class Plain(serializers.Serializer):
            v = vectors.VectorField(3)
            b = vectors.BitField(length=2)

        serializer = Plain(data={"v": [1, 2, 3], "b": "01"})
        assert serializer.is_valid(), serializer.errors
        assert serializer.data == {"v": [1, 2, 3], "b": "01"}

    def test_nested(self) -> None:
        class ChunkSerializer(serializers.ModelSerializer):
            class Meta:
                model = Chunk
                fields = ["embedding"]

        class DocumentSerializer(serializers.ModelSerializer):
            chunks = ChunkSerializer(many=True)

            class Meta:
                model = Document
                fields = ["embedding", "chunks"]

        document = Document.objects.create(title="a", embedding=[1, 2, 3])
        Chunk.objects.create(document=document, embedding=[4, 5, 6])
        Chunk.objects.create(document=document)
        assert DocumentSerializer(document).data == {
            "embedding": [1, 2, 3],
            "chunks": [{"embedding": [4, 5, 6]}, {"embedding": None}],
        }

    def test_values(self, items: Any) -> None:
        rows = Item.objects.values("id", "name", "embedding")
        assert ItemSerializer(rows, many=True).data[0]["embedding"] == [1, 0, 1]


class TestNearest:
    def test_by_key(self, client: APIClient, items: list[Item]) -> None:
        found = client.get(f"/items/?near={items[0].pk}").json()
        assert [(each["name"], each["distance"]) for each in found] == [("2", 1.0), ("1", 4.0)]

    def test_without_parameter(self, client: APIClient, items: list[Item]) -> None:
        assert len(client.get("/items/").json()) == 4

    def test_by_text(self, client: APIClient, items: list[Item]) -> None:
        found = client.get("/embedded/?near=four").json()
        assert [each["name"] for each in found] == ["1", "2"]

    def test_a_key_goes_before_a_text(self, client: APIClient, items: list[Item]) -> None:
        found = client.get(f"/embedded/?near={items[1].pk}").json()
        assert [each["name"] for each in found] == ["2", "0"]

    def test_a_row_without_a_vector(self, client: APIClient, items: list[Item]) -> None:
        assert client.get(f"/items/?near={items[3].pk}").json() == []

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("nobody", "There is no row 'nobody'."),
            ("999999", "There is no row '999999'."),
            ("9" * 400, f"There is no row '{'9' * 27}...{'9' * 28}'."),
            ("a%00b", "A key or a text cannot contain NUL."),
            ("%F0%9F%98%80", "There is no row '😀'."),
        ],
    )
    def test_refused(self, client: APIClient, items: Any, value: str, message: str) -> None:
        answer = client.get(f"/items/?near={value}")
        assert (answer.status_code, answer.json()) == (400, {"near": [message]})

    def test_only_rows_of_the_view(self, items: list[Item]) -> None:
        view = Items.as_view({"get": "list"}, queryset=Item.objects.exclude(pk=items[0].pk))
        answer = view(APIRequestFactory().get("/", {"near": items[0].pk}))
        assert answer.status_code == 400

    @pytest.mark.parametrize("alias", ["postgresql", "libsql"])
    def test_other_databases(self, alias: str) -> None:
        rows = [Full.objects.using(alias).create(a=[n, 0, 1]) for n in (1, 5, 2)]

        class Rows(serializers.ModelSerializer):
            class Meta:
                model = Full
                fields = ["id", "a"]

        class Fulls(Items):
            queryset = Full.objects.using(alias)
            serializer_class = Rows
            nearest_field = "a"

        answer = Fulls.as_view({"get": "list"})(APIRequestFactory().get("/", {"near": rows[0].pk}))
        assert [each["a"] for each in answer.data] == [[2, 0, 1], [5, 0, 1]]


class TestSchemas:
    def test_spectacular(self) -> None:
        from drf_spectacular.generators import SchemaGenerator
        from drf_spectacular.openapi import AutoSchema

        Items.schema = AutoSchema()
        schema = SchemaGenerator(patterns=urlpatterns).get_schema(public=True)
        numbers = schema["components"]["schemas"]["Item"]["properties"]["embedding"]
        assert {name: numbers[name] for name in ("type", "items", "minItems", "maxItems")} == {
            "type": "array",
            "items": {"type": "number", "format": "float"},
            "minItems": 3,
            "maxItems": 3,
        }
        parameters = schema["paths"]["/items/"]["get"]["parameters"]
        assert [each["name"] for each in parameters] == ["near"]


@override_settings(INSTALLED_APPS=["django.contrib.contenttypes", "rest_framework", "dorm_vector"])
def test_registered_by_the_app() -> None:
    mapping = serializers.ModelSerializer.serializer_field_mapping
    from dorm_vector.fields import VectorField

    assert mapping[VectorField] is vectors.VectorField
