"""Searches behind PgBouncer in transaction mode, where a session's SET is there now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from django.core.paginator import Paginator
from django.db import connections, transaction
from django.db.migrations import AddIndex
from django.test.utils import CaptureQueriesContext

from dorm_vector import L2Distance, nearest, search_params
from dorm_vector.testing import explain_nearest
from tests.support.pgbouncer import SESSIONS, pooled
from tests.support.postgres import SCRATCH
from tests.support.schema import Schema, hnsw

ROWS, CATEGORIES = 4000, 50
QUERY = [0.3, -0.2, 0.5]


@pytest.fixture
def pool(scratch: Callable[..., Any]) -> Iterator[Any]:
    """A table with an index, and a connection through a pool whose sessions have no settings."""
    with scratch().cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    table = Schema("scratch")
    vectors = np.random.default_rng(3).normal(size=(ROWS, 3))
    table.model.objects.using("scratch").bulk_create(
        table.model(embedding=vector, category=number % CATEGORIES)
        for number, vector in enumerate(vectors)
    )
    table.run(AddIndex("Thing", hnsw(metric="l2")))
    with connections["scratch"].cursor() as cursor:
        cursor.execute("ANALYZE shop_thing")
        # Each session begins with what has the planner take the index.
        for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            cursor.execute(f"ALTER DATABASE {SCRATCH} SET {setting} = off")
    connections["scratch"].close()
    with pooled(SCRATCH) as settings:
        scratch(**settings)
        yield table
        connections["scratch"].close()


def objects(pool: Any) -> Any:
    return pool.model.objects.using("scratch")


def expected(rows: Any, count: int) -> list[int]:
    found = {row.pk: np.linalg.norm(np.subtract(row.embedding, QUERY)) for row in rows}
    return sorted(found, key=lambda key: found[key])[:count]


def settings_of_sessions() -> list[Any]:
    """A setting as each of the sessions has it."""
    address = connections["scratch"].settings_dict
    client = psycopg.connect(
        host=address["HOST"],
        port=address["PORT"],
        dbname=SCRATCH,
        autocommit=True,
        prepare_threshold=None,
    )
    with client:
        asked = "SELECT pg_backend_pid(), current_setting('hnsw.iterative_scan', true)"
        found = [client.execute(asked).fetchone() for _ in range(3 * SESSIONS)]
    # Unset, before pgvector is loaded, it is off.
    return sorted(value or "off" for value in dict(found).values())  # type: ignore[arg-type]


def test_sessions_differ(pool: Any) -> None:
    """What a new connection is given lands on one session, and stays there."""
    assert objects(pool).count() == ROWS
    assert settings_of_sessions() == ["off", "off", "strict_order"]


def test_filtered_searches_are_whole(pool: Any) -> None:
    rows = objects(pool).filter(category=7)
    wanted = expected(rows, 10)
    for _ in range(3 * SESSIONS):
        found = [row.pk for row in nearest(rows, "embedding", QUERY, metric="l2", k=10)]
        assert len(set(found) & set(wanted)) >= 9
        assert len(found) == 10


def test_searches_set_for_themselves_what_sessions_lack(pool: Any) -> None:
    """After one that came back short, each search does, and the table is not read."""
    rows = objects(pool).filter(category__lt=25)
    for _ in range(2 * SESSIONS):
        list(nearest(rows.filter(category=7), "embedding", QUERY, metric="l2", k=10))
    search = nearest(rows, "embedding", QUERY, metric="l2", k=10)
    for _ in range(2 * SESSIONS):
        with CaptureQueriesContext(connections["scratch"]) as captured:
            assert len(search.all()) == 10
        sent = [query["sql"] for query in captured]
        assert [sql for sql in sent if sql.startswith("SET")] == [
            "SET LOCAL hnsw.iterative_scan = 'strict_order'"
        ]
        assert len([sql for sql in sent if sql.startswith("SELECT")]) == 1
    assert explain_nearest(search).index == "i"


def test_many_rows_and_pages(pool: Any) -> None:
    for _ in range(SESSIONS):
        assert len(nearest(objects(pool), "embedding", QUERY, metric="l2", k=100)) == 100
    pages = Paginator(nearest(objects(pool), "embedding", QUERY, metric="l2"), 10)
    keys = [row.pk for number in range(1, 11) for row in pages.page(number)]
    assert len(set(keys)) == 100


def test_settings_hold_in_a_block_and_stay_nowhere(pool: Any) -> None:
    plain = objects(pool).filter(category=7).order_by(L2Distance("embedding", QUERY))
    with search_params("scratch", iterative_scan="strict_order", ef_search=100):
        for _ in range(2 * SESSIONS):
            assert len(plain[:10]) == 10
    assert len(nearest(objects(pool), "embedding", QUERY, metric="l2", k=60, ef_search=60)) == 60
    with transaction.atomic("scratch"):
        rows = objects(pool).filter(category=3)
        assert len(nearest(rows, "embedding", QUERY, metric="l2", k=10)) == 10
    assert settings_of_sessions() == ["off", "off", "strict_order"]
