"""What is no vector of three numbers, at every door: a clear error, and nothing is stored."""

from __future__ import annotations

import datetime
import decimal
import itertools
import json
import math
import uuid
from typing import Any

import numpy as np
import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import FieldError, ValidationError
from django.db import DatabaseError, connections, transaction
from django.http import QueryDict
from django.test import Client
from django.urls import path
from django_filters import FilterSet
from import_export import resources
from ninja import NinjaAPI, Schema
from pgvector import Bit, HalfVector, SparseVector, Vector
from rest_framework import serializers, viewsets
from rest_framework.test import APIClient
from tablib import Dataset

from dorm_vector import L2Distance, nearest
from dorm_vector.admin import VectorAdmin
from dorm_vector.contrib import django_filter as filters
from dorm_vector.contrib import rest_framework as vectors
from dorm_vector.contrib.import_export import VectorResourceMixin
from dorm_vector.contrib.ninja import VectorType
from dorm_vector.fields import VectorField
from tests.testapp.models import Document

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.urls(__name__)]
vectors.register()
assert filters  # it registers what it knows

# Typed into a form, or sent as text.
TEXTS = [
    "hello", "[1,2]", "[1,2,3,4]", "1,2", "1 2 3 4", "1,,3", ",1,2,3", "1,2,3,", "[1,2,3", "1,2,3]",
    "[[1,2,3]]", "[1,[2],3]", "{1,2,3}", "(1,2,3)", "1;2", "1|2|3", "1/2/3", "nan nan nan",
    "[1,NaN,3]", "[1,Infinity,3]", "inf,1,2", "-inf 1 2", "1e39,1,2", "1e400 1 2", "-1e39 0 0",
    "0x1 2 3", "1_0,2,3", "\uff11,two,3", "1,2,'3'", '"1","2","3"', "[null,1,2]", "[true,1,2]",
    "None", "null", "true", "{}", "[]", "[ ]", "''", "NULL", "1 2 3; DROP TABLE testapp_document",
    "') OR 1=1 --", "[1,2,3]::vector", "{{ 7 * 7 }}", "%s %s %s", "1\0,2,3", "\ud83d\ude00"
    .encode("utf-16", "surrogatepass").decode("utf-16"), "1,2,3" * 1000, "[" * 10_000, "9" * 400,
    "<script>alert(1)</script>", "..%2f..%2fetc", "01:02:03", "2020-01-02 1", "1 2 3i",
]  # fmt: skip

# Sent as JSON.
JSONS: list[Any] = [
    0, 1, -1, 1.5, True, False, [], [1], [1, 2], [1, 2, 3, 4], [1, 2, "x"], ["1", "2", "3"],
    [1, 2, None], [None, None, None], [True, False, True], [1, 2, [3]], [[1, 2, 3]], [{}, 1, 2],
    {}, {"a": 1}, {"0": 1, "1": 2, "2": 3}, {"indices": [0], "values": [1], "dimensions": 3},
    [1, 2, 1e39], [1, 2, 10**40], [1, 2, 10**400], [1, 2, math.nan], [1, 2, math.inf],
    [1, 2, -math.inf], [1] * 20_000, [[]], [[], [], []], ["", "", ""], [1, 2, ""],
]  # fmt: skip


class Evil:
    def __float__(self) -> float:
        raise RuntimeError("no")


class Huge:
    def __float__(self) -> float:
        return 1e300


# Handed over by Python.
OBJECTS: list[Any] = [
    object(), object, len, Evil(), [Evil(), 1, 2], [Huge(), 1, 2], 1j, [1j, 2, 3], b"", b"123",
    b"\0" * 11, b"\0" * 13, b"\x00\x00\xc0\x7f" * 3, b"\x00\x00\x80\x7f" * 3, bytearray(5),
    memoryview(b"123"), memoryview(b"\0" * 12).cast("B", (3, 4)), {1, 2, 3}, frozenset({1, 2, 3}),
    {0: 1.0, 1: 2.0, 2: 3.0}, iter([1, 2]), itertools.count(), itertools.repeat(1), range(4),
    range(10**12), np.array(1.0), np.zeros(4), np.zeros((1, 3)), np.zeros((3, 1)),
    np.array([1, 2, np.nan]), np.array([1, 2, np.inf]), np.array([1, 2, 1e39]),
    np.array(["a", "b", "c"]), np.array([1, 2, None]), np.array([1j, 2, 3]),
    np.array(["2020", "2021", "2022"], "M8[Y]"),
    np.ma.masked_array([1, 2, 3], [0, 1, 0]), np.zeros(3, [("a", "f4")]), Vector([1, 2]),
    HalfVector([1, 2]), SparseVector({0: 1.0}, 4), Bit("101"), decimal.Decimal("NaN"),
    [decimal.Decimal("sNaN"), 1, 2], [decimal.Decimal("1e400"), 1, 2], datetime.date(2020, 1, 2),
    [datetime.date(2020, 1, 2)] * 3, uuid.uuid4(), ["1", "2", "3"], [[1], [2], [3]], (1, 2, (3,)),
    [1, 2, 10**5000], ..., type("X", (), {"__array__": lambda self, *args, **kwargs: [1, 2, 3]})(),
]  # fmt: skip

api = NinjaAPI(urls_namespace="bad")


class DocumentIn(Schema):
    title: str
    embedding: VectorType(Document, "embedding")  # type: ignore[valid-type]


def create(request: Any, document: DocumentIn) -> Any:
    made = Document.objects.create(**document.dict())
    return {"id": made.pk}


create.__annotations__ = {"document": DocumentIn}
api.post("/documents")(create)


class DocumentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Document
        fields = ["title", "embedding"]


class Documents(viewsets.ModelViewSet):
    queryset = Document.objects.all()
    serializer_class = DocumentSerializer
    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []


class DocumentFilter(FilterSet):
    class Meta:
        model = Document
        fields = ["embedding"]


class DocumentResource(VectorResourceMixin, resources.ModelResource):
    class Meta:
        model = Document
        import_id_fields = ("title",)


class DocumentAdmin(VectorAdmin, admin.ModelAdmin):
    pass


site = admin.AdminSite(name="bad_admin")
site.register(Document, DocumentAdmin)
urlpatterns = [
    path("ninja/", api.urls),
    path("rest/", Documents.as_view({"post": "create"})),
    path("admin/", site.urls),
]


def each(name: str, *values: Any) -> Any:
    return pytest.mark.parametrize(name, values, ids=[str(place) for place in range(len(values))])


texts = each("text", *TEXTS)
jsons = each("data", *JSONS, *TEXTS)
# Python counts True and False among its numbers.
objects = each("value", *OBJECTS, *(data for data in JSONS if data != [1, 0, 1]), *TEXTS)


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture(autouse=True)
def nothing_stored() -> Any:
    yield
    assert not Document.objects.exists()


@objects
def test_python(value: Any) -> None:
    """Handed over: saving, cleaning, updating and searching."""
    with pytest.raises(ValidationError) as caught, transaction.atomic():
        Document.objects.create(title="a", embedding=value)
    (message,) = caught.value.messages
    assert message.startswith("testapp.Document.embedding: ")
    assert len(message) < 200
    with pytest.raises(ValidationError) as caught:
        Document(title="a", embedding=value).full_clean()
    assert "embedding" in caught.value.message_dict
    with pytest.raises(ValidationError), transaction.atomic():
        Document.objects.update(embedding=value)
    with pytest.raises(ValidationError), transaction.atomic():
        Document.objects.bulk_create([Document(title="a", embedding=value)])
    # A word might have been meant as the name of a field: the error says how to write that.
    with pytest.raises((ValidationError, FieldError)):
        list(nearest(Document.objects.all(), "embedding", value, metric="l2"))
    with pytest.raises((ValidationError, FieldError)):
        list(Document.objects.order_by(L2Distance("embedding", value)))


@texts
def test_text(text: str, root: Client) -> None:
    """Typed: a form, the admin, a filter, an import."""
    with pytest.raises(ValidationError) as caught:
        VectorField(3).formfield().clean(text)
    assert len(caught.value.messages[0]) < 200
    answer = root.post("/admin/testapp/document/add/", {"title": "a", "embedding": text})
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors["embedding"]
    query = QueryDict(mutable=True)
    query["embedding"] = text
    found = DocumentFilter(query, Document.objects.all())
    assert found.errors["embedding"]
    data = Dataset(["a", text], headers=["title", "embedding"])
    result = DocumentResource().import_data(data, dry_run=False)
    assert result.has_validation_errors() or result.has_errors()


@jsons
def test_json(data: Any) -> None:
    """Sent: REST framework and ninja."""
    body = json.dumps({"title": "a", "embedding": data})
    answer = APIClient().post("/rest/", body, content_type="application/json")
    assert answer.status_code == 400
    answer = Client().post("/ninja/documents", body, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


# Past the field, as SQL: what the database itself refuses. Bytes are packed numbers elsewhere.
RAW = ["hello", "[1,2]", "[1,2,3,4]", "", b"", b"\0" * 11, b"\0" * 13, 7, 1.5, "NaN"]


@pytest.mark.parametrize("alias", ["default", "postgresql", "libsql"])
@each("value", *RAW)
def test_raw(alias: str, value: Any) -> None:
    sql = "INSERT INTO testapp_document (title, embedding) VALUES ('a', %s)"
    with (
        pytest.raises(DatabaseError),
        transaction.atomic(alias),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(sql, [value])
    assert not Document.objects.using(alias).exists()


def test_there_are_a_hundred() -> None:
    assert len(TEXTS) + len(JSONS) + len(OBJECTS) + len(RAW) >= 100
