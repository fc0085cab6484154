"""The SQL of querysets on a connection that the user has opened and prepared."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db.models import F

from dorm_vector import (
    CosineDistance,
    CosineSimilarity,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    Normalize,
    VectorAdd,
    VectorAvg,
    VectorMultiply,
    VectorNorm,
    VectorSum,
    VectorToJSON,
    load_sqlite_vec_extension,
    nearest,
)
from tests.support import oracle
from tests.testapp.models import Full

QUERY = [1.0, 2.0, 2.0]
VECTORS = [[1, 2, 3], [-3, 0.5, 1], [0, 0, 0], [1e-23, 0, 2e-23], [3e18, 1e18, 0]]
TABLE = Full._meta.db_table


@pytest.fixture(params=["auto", "python"])
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(tmp_path / "own")) as connection:
        load_sqlite_vec_extension(connection, tier=request.param)
        connection.execute(f'CREATE TABLE "{TABLE}" (id INTEGER, a BLOB, b BLOB, "group" INTEGER)')
        rows = [
            (key, np.array(vector, "<f4").tobytes(), np.array(QUERY, "<f4").tobytes())
            for key, vector in enumerate(VECTORS)
        ]
        connection.executemany(f'INSERT INTO "{TABLE}" VALUES (?, ?, ?, 0)', rows)
        yield connection


def fetched(raw: sqlite3.Connection, queryset: Any) -> list[tuple[Any, ...]]:
    sql, params = queryset.query.sql_with_params()
    plain = [bytes(each) if isinstance(each, bytes) else each for each in params]
    return raw.execute(sql.replace("%s", "?"), plain).fetchall()


def same(found: float, metric: str, vector: Any) -> bool:
    wanted = oracle.DISTANCES[metric](vector, QUERY)
    if math.isnan(wanted):
        return found == math.inf
    return math.isclose(found, wanted, abs_tol=oracle.tolerance(metric, vector, QUERY))


@pytest.mark.parametrize(
    "distance", [L2Distance, CosineDistance, MaxInnerProduct, L1Distance], ids=lambda d: d.metric
)
@pytest.mark.parametrize("other", [QUERY, "b"], ids=["vector", "column"])
def test_distances(raw: sqlite3.Connection, distance: Any, other: Any) -> None:
    queryset = Full.objects.order_by("pk").values_list("pk", distance("a", other))
    found = fetched(raw, queryset)
    assert [key for key, _ in found] == list(range(len(VECTORS)))
    for (_, value), vector in zip(found, VECTORS, strict=True):
        assert same(value, distance.metric, vector), (value, vector)


def test_a_search(raw: sqlite3.Connection) -> None:
    found = fetched(raw, nearest(Full, "a", QUERY, k=3, metric="cosine").values_list("pk"))
    distances = {key: oracle.cosine(vector, QUERY) for key, vector in enumerate(VECTORS)}
    defined = [key for key, distance in distances.items() if not math.isnan(distance)]
    assert [key for key, *_ in found] == sorted(defined, key=distances.__getitem__)[:3]


def test_a_query_as_text(raw: sqlite3.Connection) -> None:
    queryset = Full.objects.filter(pk__lt=2).order_by("pk").values_list(L2Distance("a", F("b")))
    found = [value for (value,) in raw.execute(str(queryset.query))]
    assert found == pytest.approx([oracle.l2(vector, QUERY) for vector in VECTORS[:2]], rel=1e-5)


def test_functions(raw: sqlite3.Connection) -> None:
    queryset = Full.objects.order_by("pk").values_list(
        VectorNorm("a"),
        Normalize("a"),
        VectorAdd("a", QUERY),
        VectorMultiply("a", "b"),
        VectorToJSON("a"),
        CosineSimilarity("a", QUERY),
    )
    for row, vector in zip(fetched(raw, queryset), VECTORS, strict=True):
        norm, unit, total, product, text, similarity = row
        exact = oracle.float32(vector)
        length = np.linalg.norm(exact)
        assert norm == pytest.approx(length, rel=1e-5)
        assert np.frombuffer(unit, "<f4") == pytest.approx(exact / (length or 1), rel=1e-5)
        assert np.frombuffer(total, "<f4") == pytest.approx(exact + QUERY, rel=1e-6)
        assert np.frombuffer(product, "<f4") == pytest.approx(exact * QUERY, rel=1e-6)
        assert [float(each) for each in text.strip("[]").split(",")] == pytest.approx(exact)
        wanted = 1 - oracle.cosine(vector, QUERY)
        assert similarity == pytest.approx(-math.inf if math.isnan(wanted) else wanted, abs=1e-5)


def test_aggregates(raw: sqlite3.Connection) -> None:
    queryset = Full.objects.filter(pk__lt=3).values("group")
    ((total, mean),) = fetched(
        raw, queryset.annotate(t=VectorSum("a"), m=VectorAvg("a")).values_list("t", "m")
    )
    exact = np.array([oracle.float32(vector) for vector in VECTORS[:3]])
    assert np.frombuffer(total, "<f4") == pytest.approx(exact.sum(axis=0), rel=1e-6)
    assert np.frombuffer(mean, "<f4") == pytest.approx(exact.mean(axis=0), rel=1e-6)
