"""From which calls a distance tells where it stands, and what it is where they tell nothing."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from django.db.models import F, FloatField, Func

from dorm_vector import CosineDistance
from tests.support import oracle
from tests.testapp.models import Full

QUERY = [1.0, 1.0, 2.0]
VECTORS = [[1, 2, 3], [3, 2, 1], [-1, 0, 2]]


@pytest.fixture
def rows(alias: str) -> Any:
    for vector in (*VECTORS, [0, 0, 0], None):
        Full.objects.using(alias).create(a=vector)
    return Full.objects.using(alias).annotate(d=CosineDistance("a", QUERY)).order_by("pk")


@pytest.fixture
def wanted() -> list[float]:
    return [oracle.cosine(vector, QUERY) for vector in VECTORS]


def close(value: float) -> Any:
    return pytest.approx(value, abs=1e-6)


def compiler_of(rows: Any) -> Any:
    return rows.query.get_compiler(rows.db)


def distance_of(rows: Any) -> Any:
    return rows.query.annotations["d"]


class Halved(Func):
    """A project's own function, whose method is decorated."""

    function = "ABS"

    def decorated(*args: Any, **kwargs: Any) -> Any:
        expression, compiler, _ = args
        sql, params = compiler.compile(expression.source_expressions[0])
        return f"({sql}) / 2", params

    as_sql = decorated


class Compiler:
    """A compiler that is not derived from Django's."""

    def __init__(self, compiler: Any) -> None:
        self.query, self.connection = compiler.query, compiler.connection
        # By one of these names, as Django has it, a column is quoted.
        self.quote_name = self.quote_name_unless_alias = compiler.connection.ops.quote_name

    def compile(self, node: Any) -> Any:
        return node.as_sql(self, self.connection)

    def selected(self, node: Any) -> Any:
        return self.compile(node)


def test_calls_that_tell_nothing(rows: Any) -> None:
    """A distance is then what it is when read, which sorts last."""
    compiler, distance = compiler_of(rows), distance_of(rows)
    (made,) = map(distance.as_sql, [compiler], [compiler.connection])
    assert made == distance.value_sql(compiler, compiler.connection)
    assert made == compiler.compile(distance)
    assert made != compiler.compile(1 - distance)


def test_a_compiler_of_others(rows: Any) -> None:
    theirs, ours, distance = Compiler(compiler_of(rows)), compiler_of(rows), distance_of(rows)
    assert theirs.selected(distance) == distance.value_sql(ours, ours.connection)
    computed = (1 - distance).resolve_expression(rows.query)
    assert theirs.selected(computed) == ours.compile(computed)
    assert "NULLIF" in theirs.selected(computed)[0]


def test_a_decorated_method(rows: Any, wanted: list[float]) -> None:
    found = [row.x for row in rows.annotate(x=Halved("d", output_field=FloatField()))]
    assert found == [*(close(value / 2) for value in wanted), None, None]


def test_a_debugger(rows: Any, wanted: list[float]) -> None:
    def trace(*args: Any) -> Any:
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        found = list(rows.annotate(x=1 - F("d")).order_by("d", "pk").filter(d__isnull=False))
    finally:
        sys.settrace(before)
    assert [row.x for row in found] == [*(close(1 - value) for value in sorted(wanted)), None]
    assert math.isnan(found[-1].d)
