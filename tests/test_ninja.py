"""Vectors in django-ninja's schemas."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import FieldDoesNotExist
from django.test import Client
from django.urls import path
from ninja import ModelSchema, NinjaAPI, Schema

from dorm_vector import nearest
from dorm_vector.contrib.near import near
from dorm_vector.contrib.ninja import VectorType, handle_errors
from tests.testapp.models import Item, Numpy, Sparse

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.urls(__name__)]

api = NinjaAPI(urls_namespace="vectors")
handle_errors(api)

ItemVector: Any = VectorType(Item, "embedding")
Bits: Any = VectorType(Numpy, "bits")
Elements: Any = VectorType(Sparse, "a")


class ItemIn(Schema):
    name: str
    embedding: ItemVector = None


class ItemOut(Schema):
    id: int
    embedding: ItemVector
    distance: float | None = None


class Whole(ModelSchema):
    class Meta:
        model = Item
        fields = ["name", "embedding"]


class Others(Schema):
    bits: Bits = None
    sparse: Elements = None


def create(request: Any, item: ItemIn) -> Any:
    return Item.objects.create(**item.dict())


def create_whole(request: Any, item: Whole) -> Any:
    return Item.objects.create(**item.dict())


def listed(request: Any, like: str = "") -> Any:
    return near(Item.objects.all(), "embedding", like, metric="l2") if like else Item.objects.all()


def numpy_rows(request: Any) -> Any:
    return nearest(Numpy.objects.all(), "vector", [1, 2, 3], metric="l2")


def others(request: Any, other: Others) -> Any:
    return other


class NumpyOut(Schema):
    vector: VectorType(Numpy, "vector")  # type: ignore[valid-type]


# Without postponed annotations, which ninja reads from the module.
for function in (create, create_whole, others):
    function.__annotations__ = {
        "item": {"create": ItemIn, "create_whole": Whole}.get(function.__name__),
        "other": Others,
    }
api.post("/items", response=ItemOut)(create)
api.post("/whole", response=Whole)(create_whole)
api.get("/items", response=list[ItemOut])(listed)
api.get("/numpy", response=list[NumpyOut])(numpy_rows)
api.post("/others", response=Others)(others)
urlpatterns = [path("api/", api.urls)]


def post(where: str, data: Any) -> tuple[int, Any]:
    answer = Client().post(f"/api/{where}", json.dumps(data), content_type="application/json")
    return answer.status_code, answer.json()


class TestVectors:
    def test_round_trip(self) -> None:
        status, made = post("items", {"name": "one", "embedding": [0.1, -2, 3]})
        expected = np.array([0.1, -2, 3], "f4").astype(float).tolist()
        # What was made has the numbers that were sent; what is read, those that are stored.
        assert (status, made["embedding"]) == (200, expected)
        assert Client().get("/api/items").json()[0]["embedding"] == expected

    def test_null(self) -> None:
        assert post("items", {"name": "one"})[1]["embedding"] is None

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([1, 2], "Expected 3 dimensions, not 2."),
            ([1, "x", 3], "Component 1 is 'x', not a number."),
            ("hello", "'hello' is not a vector."),
            ({"a": 1}, "Expected an array of numbers, not an object."),
            (7, "Expected an array of numbers, not 7."),
        ],
    )
    def test_refused(self, given: Any, message: str) -> None:
        status, answer = post("items", {"name": "one", "embedding": given})
        assert (status, answer["detail"][0]["msg"]) == (422, f"Value error, {message}")
        assert not Item.objects.exists()

    def test_numpy(self) -> None:
        Numpy.objects.create(vector=[1, 2, 3])
        assert Client().get("/api/numpy").json() == [{"vector": [1, 2, 3]}]

    def test_other_kinds(self) -> None:
        sparse = {"indices": [0], "values": [0.5], "dimensions": 5}
        status, answer = post("others", {"bits": "0110100110", "sparse": sparse})
        assert (status, answer) == (200, {"bits": "0110100110", "sparse": sparse})
        status, answer = post("others", {"bits": "01", "sparse": {}})
        assert status == 422
        assert [each["msg"] for each in answer["detail"]] == [
            "Value error, Expected 10 bits, not 2.",
            'Value error, Expected {"indices": [...], "values": [...], "dimensions": ...}, '
            "not an object.",
        ]

    def test_near(self) -> None:
        rows = [Item.objects.create(name=f"{n}", embedding=[n, 0, 1]) for n in (1, 5, 2)]
        found = Client().get(f"/api/items?like={rows[0].pk}").json()
        assert [(each["id"], each["distance"]) for each in found] == [
            (rows[2].pk, 1.0),
            (rows[1].pk, 4.0),
        ]

    def test_schema(self) -> None:
        schema = api.get_openapi_schema()["components"]["schemas"]["ItemIn"]
        numbers = {
            "type": "array",
            "items": {"type": "number", "format": "float"},
            "minItems": 3,
            "maxItems": 3,
        }
        # The field has null=True.
        assert schema["properties"]["embedding"]["anyOf"] == [numbers, {"type": "null"}]

    def test_a_field_without_vectors(self) -> None:
        with pytest.raises(ValueError, match=r"^testapp\.Item\.name has no vectors\.$"):
            VectorType(Item, "name")
        with pytest.raises(FieldDoesNotExist):
            VectorType(Item, "nothing")


class WholeSparse(ModelSchema):
    class Meta:
        model = Sparse
        fields = ["a"]


class TestModelSchema:
    def test_sparse(self) -> None:
        given = {"indices": [0], "values": [0.5], "dimensions": 5}
        row = Sparse(**WholeSparse(a=given).dict())
        row.save(using="postgresql")
        row.refresh_from_db()
        assert WholeSparse.from_orm(row).model_dump(mode="json") == {"a": given}
        with pytest.raises(ValueError, match="Expected as many indices as values"):
            WholeSparse(a={**given, "values": []})

    def test_round_trip(self) -> None:
        status, made = post("whole", {"name": "one", "embedding": [1, 2, 3]})
        assert (status, made["embedding"]) == (200, [1, 2, 3])

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([1, True, 3], "Component 1 is true, not a number."),
            ([1, "2", 3], "Component 1 is '2', not a number."),
            ([1, 2, None], "Component 2 is null, not a number."),
        ],
    )
    def test_what_is_no_number(self, given: Any, message: str) -> None:
        """Pydantic would take true and text for numbers."""
        status, answer = post("whole", {"name": "one", "embedding": given})
        assert (status, answer["detail"][0]["msg"]) == (422, f"Value error, {message}")
        assert not Item.objects.exists()

    def test_refused_when_saved(self) -> None:
        status, answer = post("whole", {"name": "one", "embedding": [1, 2]})
        assert (status, answer) == (
            422,
            {
                "detail": [
                    {
                        "msg": "testapp.Item.embedding: Expected 3 dimensions, not 2.",
                        "type": "value_error",
                    }
                ]
            },
        )
