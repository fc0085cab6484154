"""Vectors in the logs of queries: their beginning is there, and the database gets all of them."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import numpy as np
import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from dorm_vector import CosineDistance, nearest
from dorm_vector.parameters import PackedVector, VectorBytes, VectorText, abbreviated
from tests.testapp.models import PAIRS, Item

Wide = PAIRS[1536]
VECTOR = np.random.default_rng(7).standard_normal(1536, np.float32)
# A query of nearest() names its vector six times at most; in full it has 15,000 characters.
SHORT = 2000


def statements(manager: Any) -> dict[str, Any]:
    """Queries by what they are, each with a vector."""
    return {
        "create": lambda: manager.create(a=VECTOR, b=VECTOR.tolist()),
        "bulk_create": lambda: manager.bulk_create([Wide(a=VECTOR), Wide(a=VECTOR)]),
        "update": lambda: manager.update(b=VECTOR),
        "filter": lambda: list(manager.filter(a=VECTOR).values("pk")),
        "distance": lambda: list(manager.values("pk").annotate(d=CosineDistance("a", VECTOR))[:3]),
        "nearest": lambda: list(nearest(manager, "a", VECTOR, k=1).values("pk")),
        "nearest, too few": lambda: list(nearest(manager, "a", VECTOR, k=50).values("pk")),
    }


@pytest.mark.parametrize("name", statements(None))
def test_queries_are_short(alias: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    manager = Wide.objects.using(alias)
    manager.create(a=VECTOR, b=VECTOR)
    connection = connections[alias]
    with (
        caplog.at_level(logging.DEBUG, "django.db.backends"),
        CaptureQueriesContext(connection) as captured,
    ):
        statements(manager)[name]()
    assert captured
    for query in captured:
        assert len(query["sql"]) < SHORT
    vectors = [query["sql"] for query in captured if str(VECTOR[0])[:7] in query["sql"]]
    assert vectors
    assert all("1,536 numbers" in sql or "characters" in sql for sql in vectors)
    for record in caplog.records:
        assert len(record.getMessage()) < 2 * SHORT


def test_short_vectors_are_whole(alias: str) -> None:
    with CaptureQueriesContext(connections[alias]) as captured:
        list(Item.objects.using(alias).filter(embedding=[1, 2.5, 3]))
    (query,) = captured
    whole = "[1.0,2.5,3.0]" if "[1.0" in query["sql"] else "[1,2.5,3]"
    assert whole in query["sql"] or "X'0000803F0000204000004040'" in query["sql"]


def test_other_values_are_whole(alias: str) -> None:
    """The vector is cut, and what stands beside it is not."""
    name = "n" * 400
    with CaptureQueriesContext(connections[alias]) as captured:
        list(Wide.objects.using(alias).filter(a=VECTOR).extra(where=["%s = %s"], params=[name] * 2))
    (query,) = captured
    assert query["sql"].count(name) == 2


def test_the_database_gets_all_of_it(alias: str) -> None:
    manager = Wide.objects.using(alias)
    with CaptureQueriesContext(connections[alias]):
        manager.create(a=VECTOR)
        assert manager.get(a=VECTOR).a == VECTOR.tolist()


def test_named_parameters(alias: str) -> None:
    connection = connections[alias]
    text = VectorText("[" + ",".join(["1"] * 200) + "]")
    with CaptureQueriesContext(connection) as captured, connection.cursor() as cursor:
        cursor.execute("SELECT %(v)s", {"v": text})
        assert cursor.fetchone() == (str(text),)
    assert "401 characters" in captured[0]["sql"]
    assert len(captured[0]["sql"]) < 200


def test_pickle_and_equality() -> None:
    packed = VECTOR.tobytes()
    for made in (
        abbreviated(packed, packed),
        abbreviated(str(packed), packed),
        VectorBytes(packed),
    ):
        again = pickle.loads(pickle.dumps(made))
        assert (type(again), again, hash(again)) == (type(made), made, hash(made))
    assert isinstance(abbreviated(packed, packed), PackedVector)
    assert abbreviated(packed, packed) == packed
    assert abbreviated(None, None) is None


def test_repr() -> None:
    assert repr(VectorText("[1,2]")) == "'[1,2]'"
    assert repr(PackedVector(bytes(8))) == repr(bytes(8))
    assert repr(PackedVector(bytes(4000))) == "'[0,0,0,0,... 1,000 numbers'"
    assert repr(VectorBytes(b"\1" * 100)) == f"'{'01' * 64}... 100 bytes'"
    assert repr(VectorText("x" * 100)) == f"'{'x' * 64},... 100 characters'"
