"""Django's own functions over vectors are refused by name, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import NotSupportedError, connections, transaction
from django.db.models import (
    Case,
    CharField,
    Count,
    ExpressionWrapper,
    F,
    Max,
    Min,
    OuterRef,
    Q,
    Subquery,
    TextField,
    Value,
    When,
    Window,
)
from django.db.models import functions as fn
from django.db.models.lookups import GreaterThan

from dorm_vector import L2Distance, VectorField, VectorSum
from tests.testapp.models import Everything, Full

BYTES = "use the functions and aggregates of dorm_vector"
REFUSED: dict[str, tuple[Any, str]] = {
    "max": (Max("a"), "Max takes no vectors: order by a distance or VectorNorm."),
    "min": (Min("a"), "Min takes no vectors: order by a distance or VectorNorm."),
    "greatest": (
        fn.Greatest("a", "b"),
        "Greatest takes no vectors: order by a distance or VectorNorm.",
    ),
    "length": (fn.Length("a"), "Length takes no vectors: use VectorDims or VectorNorm."),
    "json": (fn.JSONObject(e="a"), "JSONObject takes no vectors: use VectorToJSON."),
    "concat": (
        fn.Concat("a", "b", output_field=CharField()),
        "ConcatPair takes no vectors: use VectorConcat.",
    ),
    "left": (fn.Left("a", 4), "Left takes no vectors: use Subvector."),
    "substr": (fn.Substr("a", 1, 4), "Substr takes no vectors: use Subvector."),
    "upper": (fn.Upper("a"), f"Upper takes no vectors: {BYTES}."),
    "md5": (fn.MD5("a"), f"MD5 takes no vectors: {BYTES}."),
    "round": (fn.Round("a"), f"Round takes no vectors: {BYTES}."),
    "abs": (fn.Abs("a"), "Abs takes no vectors: use VectorNorm."),
    "sum": (
        ExpressionWrapper(F("a") + F("b"), output_field=VectorField(3)),
        "CombinedExpression takes no vectors: use VectorAdd, VectorSubtract or VectorMultiply.",
    ),
    "within": (
        fn.Coalesce(fn.Length("a"), 0),
        "Length takes no vectors: use VectorDims or VectorNorm.",
    ),
    "window": (
        Window(Max("a"), partition_by="group"),
        "Max takes no vectors: order by a distance or VectorNorm.",
    ),
    "lookup": (
        GreaterThan(F("a"), F("b")),
        f"GreaterThan takes no vectors: {BYTES}.",
    ),
    "of a coalesce": (
        fn.Length(fn.Coalesce("a", "b")),
        "Length takes no vectors: use VectorDims or VectorNorm.",
    ),
}
AGGREGATES = {"max", "min"}


@pytest.fixture
def rows(alias: str) -> Any:
    Full.objects.using(alias).create(a=[1, 2, 3], b=[3, 2, 1])
    Full.objects.using(alias).create(a=[3, 2, 1], b=None)
    return Full.objects.using(alias)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(rows: Any, name: str) -> None:
    expression, sentence = REFUSED[name]
    ways = [
        lambda: list(rows.annotate(x=expression)),
        lambda: list(rows.annotate(x=expression).values_list("x")),
        lambda: list(rows.filter(pk__in=rows.annotate(x=expression).values("x"))),
    ]
    if name in AGGREGATES:
        ways.append(lambda: rows.aggregate(x=expression))
        ways.append(lambda: list(rows.values("group").annotate(x=expression)))
    elif name != "window":
        ways.append(lambda: list(rows.order_by(expression)))
        ways.append(lambda: list(rows.alias(x=expression).filter(x__isnull=False)))
        ways.append(lambda: rows.update(group=Case(When(Q(pk__gt=0), then=expression), default=0)))
    for way in ways:
        with pytest.raises(NotSupportedError) as caught, transaction.atomic(rows.db):
            way()
        assert str(caught.value) == sentence


HARMLESS: dict[str, tuple[Any, Any]] = {
    "coalesce": (fn.Coalesce("b", "a"), [3.0, 2.0, 1.0]),
    "case": (Case(When(group=0, then="a"), default="b"), [1.0, 2.0, 3.0]),
    "count": (Count("a", distinct=True), 1),
    "null if": (fn.NullIf("a", Value([1, 2, 3], VectorField(3))), None),
    "lead": (Window(fn.Lead("a"), order_by="pk"), [3.0, 2.0, 1.0]),
    "first": (Window(fn.FirstValue("a"), order_by="pk"), [1.0, 2.0, 3.0]),
    "subquery": (
        Subquery(Full.objects.filter(pk=OuterRef("pk")).values("a")[:1]),
        [1.0, 2.0, 3.0],
    ),
    "max of a distance": (Max(L2Distance("a", [1, 2, 3])), 0.0),
    "length of json": (fn.Length(Value("abc")), 3),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless(rows: Any, name: str) -> None:
    expression, value = HARMLESS[name]
    assert rows.annotate(x=expression).order_by("pk")[0].x == value


def test_functions_of_the_project_are_let_through(rows: Any) -> None:
    class OwnMax(Max):
        function, name = "COUNT", "OwnMax"

    assert rows.aggregate(x=OwnMax("group"), y=VectorSum("a"))["y"] == [4.0, 4.0, 4.0]


CASTS = [
    (
        fn.Cast("text", VectorField(3)),
        " stores vectors as bytes, and cannot cast to vector; PostgreSQL can.",
    ),
    (
        fn.Cast("vector", TextField()),
        " stores vectors as bytes, which Cast would not convert: use VectorToJSON.",
    ),
]


@pytest.mark.parametrize(("cast", "sentence"), CASTS)
def test_casts_of_bytes(alias: str, cast: Any, sentence: str) -> None:
    rows = Everything.objects.using(alias)
    rows.create(text="[1,2,3]", vector=[1, 2, 3])
    if alias == "postgresql":
        assert rows.annotate(x=cast).get().x in ([1.0, 2.0, 3.0], "[1,2,3]")
    else:
        assert_cast_is_refused(rows, cast, connections[alias].display_name + sentence)
    assert rows.get().vector == [1.0, 2.0, 3.0]


def assert_cast_is_refused(rows: Any, cast: Any, sentence: str) -> None:
    ways = [lambda: rows.annotate(x=cast).get()]
    if isinstance(cast.output_field, VectorField):
        ways.append(lambda: rows.update(vector=cast))
        ways.append(lambda: list(rows.annotate(x=L2Distance(cast, [1, 2, 3]))))
    for way in ways:
        with pytest.raises(NotSupportedError) as caught, transaction.atomic(rows.db):
            way()
        assert str(caught.value) == sentence


def test_cast_between_vectors(alias: str) -> None:
    rows = Full.objects.using(alias)
    rows.create(a=[1, 2, 3])
    assert rows.annotate(x=fn.Cast("a", VectorField(3))).get().x == [1.0, 2.0, 3.0]
