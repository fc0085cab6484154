"""A table whose rows lie in two other databases, by postgres_fdw: searched whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from django.core.paginator import Paginator
from django.db import connections

from dorm_vector import HnswIndex, models, nearest
from dorm_vector.testing import explain_nearest
from tests.support import postgres

SHARDS = [f"{postgres.SCRATCH}_shard{number}" for number in range(2)]
ROWS, DIMENSIONS = 2400, 8
HALF = ROWS // 2
QUERY = [0.3, -0.2, 0.5, 0.1, 0.0, 0.4, -0.6, 0.2]
REASON = "The rows come from a foreign table: whether an index serves them only its server can say."


class Sharded(models.Model):
    """Partitioned by key: one half in one database, one in the other."""

    category = models.IntegerField()
    embedding = models.VectorField(DIMENSIONS)

    class Meta:
        app_label = "shards"
        managed = False
        indexes = [HnswIndex(fields=["embedding"], name="shard_l2", metric="l2")]


COLUMNS = f"id int NOT NULL, category int NOT NULL, embedding vector({DIMENSIONS}) NOT NULL"


def vectors() -> np.ndarray:
    return np.random.default_rng(11).normal(size=(ROWS, DIMENSIONS)).astype("f4")


@pytest.fixture
def admin(django_db_setup: None) -> Iterator[Any]:
    with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True) as admin:
        for name in SHARDS:
            admin.execute(f"CREATE DATABASE {name}")
        yield admin
        for name in SHARDS:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def address(name: str) -> dict[str, Any]:
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    found = {key: postgres.database()[setting] for key, setting in names.items()}
    return {"dbname": name, **{key: value for key, value in found.items() if value}}


def fill(number: int) -> None:
    """A shard with its rows and its index, which its planner takes; otherwise at its defaults."""
    with psycopg.connect(**address(SHARDS[number]), autocommit=True) as shard:
        shard.execute("CREATE EXTENSION vector")
        shard.execute(f"CREATE TABLE rows ({COLUMNS})")
        with shard.cursor().copy("COPY rows FROM STDIN") as copy:
            for key, vector in enumerate(vectors().tolist(), 1):
                if (key > HALF) == number:
                    copy.write_row((key, key % 60, str(vector)))
        shard.execute("CREATE INDEX ON rows USING hnsw (embedding vector_l2_ops)")
        shard.execute("ANALYZE rows")
        shard.execute(f"ALTER DATABASE {SHARDS[number]} SET enable_seqscan = off")


def attach(cursor: Any, number: int) -> None:
    given = {key: str(value) for key, value in address(SHARDS[number]).items() if key != "user"}
    options = ", ".join(f"{key} '{value}'" for key, value in given.items() if key != "password")
    user = postgres.database()["USER"]
    start, end = ("MINVALUE", HALF + 1) if number == 0 else (HALF + 1, "MAXVALUE")
    cursor.execute(
        f"CREATE SERVER shard{number} FOREIGN DATA WRAPPER postgres_fdw "
        f"OPTIONS ({options}, extensions 'vector', use_remote_estimate 'true')"
    )
    cursor.execute(
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER shard{number} "
        f"OPTIONS (user '{user}', password_required 'false')"
    )
    cursor.execute(
        f"CREATE FOREIGN TABLE shard{number} PARTITION OF shards_sharded "
        f"FOR VALUES FROM ({start}) TO ({end}) SERVER shard{number} "
        "OPTIONS (table_name 'rows')"
    )


@pytest.fixture
def shards(admin: Any, scratch: Callable[..., Any]) -> Any:
    """The rows of the table."""
    for number in range(2):
        fill(number)
    with scratch().cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
        cursor.execute("CREATE EXTENSION postgres_fdw")
        cursor.execute(f"CREATE TABLE shards_sharded ({COLUMNS}) PARTITION BY RANGE (id)")
        for number in range(2):
            attach(cursor, number)
        cursor.execute("ANALYZE shards_sharded")
    return Sharded.objects.using("scratch")


def exactly(count: int, keys: Any = None) -> list[int]:
    distances = np.linalg.norm(vectors().astype("f8") - np.asarray(QUERY, "f4"), axis=1)
    order = [int(place) + 1 for place in np.argsort(distances)]
    return [key for key in order if keys is None or key in keys][:count]


def test_the_shards_search_their_indexes(shards: Any) -> None:
    """Or else the other tests would show nothing."""
    sql = (
        "EXPLAIN (VERBOSE) SELECT id FROM shards_sharded "
        f"ORDER BY embedding <-> '{QUERY}' LIMIT 200"
    )
    with connections["scratch"].cursor() as cursor:
        cursor.execute(sql)
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute(f"SELECT id FROM shards_sharded ORDER BY embedding <-> '{QUERY}' LIMIT 200")
        assert len(cursor.fetchall()) == 80
    assert plan.count("ORDER BY (embedding OPERATOR(public.<->)") == 2


@pytest.mark.parametrize("k", [1, 10, 40, 79, 81, 200])
def test_searches_are_whole(shards: Any, k: int) -> None:
    found = [row.pk for row in nearest(shards, "embedding", QUERY, metric="l2", k=k)]
    assert len(found) == len(set(found)) == k
    assert len(set(found) & set(exactly(k))) >= 0.95 * k
    distances = [row.distance for row in nearest(shards, "embedding", QUERY, metric="l2", k=k)]
    assert distances == sorted(distances)


def test_filtered_searches_are_whole(shards: Any) -> None:
    rows = shards.filter(category=7)
    keys = set(rows.values_list("pk", flat=True))
    found = [row.pk for row in nearest(rows, "embedding", QUERY, metric="l2", k=20)]
    assert found == exactly(20, keys)


def test_pages(shards: Any) -> None:
    pages = Paginator(nearest(shards, "embedding", QUERY, metric="l2"), 10)
    keys = [row.pk for number in range(1, 21) for row in pages.page(number)]
    assert len(keys) == len(set(keys)) == 200
    assert len(set(keys) & set(exactly(200))) >= 190


def test_explained(shards: Any) -> None:
    found = explain_nearest(nearest(shards, "embedding", QUERY, metric="l2", k=10))
    assert (found.index, found.reason) == (None, REASON)
    assert found.plan.count("Foreign Scan") == 2
