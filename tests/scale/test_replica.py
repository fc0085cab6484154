"""A primary with a streaming replica, at which a router reads: the same searches, and no writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from django.core.paginator import Paginator
from django.db import InternalError, OperationalError, connections, migrations
from django.test.utils import CaptureQueriesContext

from dorm_vector import (
    HnswIndex,
    L2Distance,
    VectorExtension,
    bulk_copy,
    models,
    nearest,
    search_params,
)
from dorm_vector.testing import explain_nearest
from tests.support.migrating import Project
from tests.support.replica import Pair, running_pair

ROWS, DIMENSIONS, CATEGORIES = 3000, 8, 50
VECTORS = np.random.default_rng(6).normal(size=(ROWS, DIMENSIONS)).astype("f4")
QUERY = [0.3, -0.2, 0.5, 0.1, 0.0, 0.4, -0.6, 0.2]


class Reader:
    """Reads at the replica, writes at the primary."""

    reads: str | None = "replica"

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return self.reads

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "primary"

    def allow_relation(self, *args: Any, **hints: Any) -> bool:
        return True


class Undecided(Reader):
    """Has no opinion where to read: Django takes the database of the instance, or the default."""

    reads = None


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as pair:
        yield pair


@pytest.fixture
def servers(pair: Pair, django_db_setup: None, django_db_blocker: Any) -> Iterator[Pair]:
    """Both servers, as the databases "primary" and "replica"."""
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        for alias in ("primary", "replica"):
            stack.callback(forget, alias)
            connect(alias, pair.settings(alias))
        yield pair


def connect(alias: str, changes: dict[str, Any]) -> None:
    settings_dict = {**connections["postgresql"].settings_dict, **changes}
    connections.settings[alias] = settings_dict
    connections[alias] = type(connections["postgresql"])(settings_dict, alias=alias)


def forget(alias: str) -> None:
    connections[alias].close()
    del connections[alias], connections.settings[alias]


@pytest.fixture
def model(servers: Pair, settings: Any) -> Iterator[Any]:
    settings.DATABASE_ROUTERS = [Reader()]
    fields = [
        ("id", models.AutoField(primary_key=True)),
        ("category", models.IntegerField()),
        ("embedding", models.VectorField(DIMENSIONS)),
    ]
    created = migrations.CreateModel("Article", fields)
    project = Project(VectorExtension(), created, alias="primary")
    article = project.model()
    project.rows().bulk_create(
        article(category=n % CATEGORIES, embedding=vector) for n, vector in enumerate(VECTORS)
    )
    index = HnswIndex(fields=["embedding"], name="article_hnsw", metric="l2")
    project.run(migrations.AddIndex("article", index))
    run(
        "ANALYZE shop_article",
        *(
            f"ALTER DATABASE postgres SET {setting} = off"
            for setting in ("enable_seqscan", "enable_sort", "enable_bitmapscan")
        ),
    )
    servers.catch_up()
    for alias in ("primary", "replica"):
        connections[alias].close()
    yield project.model()
    servers.pause("resume")
    run("DROP TABLE shop_article", "DROP EXTENSION vector")
    servers.catch_up()


def run(*statements: str) -> None:
    with connections["primary"].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def exactly(k: int, matching: Any = True) -> list[int]:
    distances = np.linalg.norm(VECTORS.astype("f8") - np.asarray(QUERY, "f4"), axis=1)
    return [int(n) + 1 for n in np.argsort(np.where(matching, distances, np.inf))[:k]]


def test_searches_run_at_the_replica(model: Any) -> None:
    search = nearest(model, "embedding", QUERY, k=10)
    assert search.db == "replica"
    with (
        CaptureQueriesContext(connections["replica"]) as there,
        CaptureQueriesContext(connections["primary"]) as here,
    ):
        found = [row.pk for row in search]
    assert len(set(found) & set(exactly(10))) >= 9
    assert (len(there), len(here)) == (1, 0)
    assert explain_nearest(search).index == "article_hnsw"


@pytest.mark.parametrize("k", [60, 300])
def test_more_candidates_are_set_there(model: Any, k: int) -> None:
    """SET LOCAL in a transaction, which a replica takes as any other."""
    with CaptureQueriesContext(connections["replica"]) as there:
        found = [row.pk for row in nearest(model, "embedding", QUERY, k=k, ef_search=k)]
    assert len(set(found)) == k
    assert len(set(found) & set(exactly(k))) >= 0.95 * k
    assert any("SET LOCAL hnsw.ef_search" in query["sql"] for query in there)


def test_rare_rows_are_completed(model: Any) -> None:
    matching = np.arange(ROWS) % CATEGORIES == 7
    found = [row.pk for row in nearest(model.objects.filter(category=7), "embedding", QUERY, k=60)]
    assert found == exactly(60, matching)
    assert len(nearest(model.objects.filter(category=7), "embedding", QUERY, k=61)) == 60


def test_pages(model: Any) -> None:
    pages = Paginator(nearest(model, "embedding", QUERY), 10)
    keys = [row.pk for number in range(1, 13) for row in pages.page(number)]
    assert len(set(keys)) == 120


def test_settings_of_a_block(model: Any) -> None:
    """Without an alias they hold where the router sends a query, and with one there alone."""
    plain = model.objects.filter(category=7).order_by(L2Distance("embedding", QUERY))
    for block in (
        search_params(ef_search=200, iterative_scan="strict_order"),
        search_params("replica", ef_search=200, iterative_scan="strict_order"),
    ):
        with CaptureQueriesContext(connections["replica"]) as there, block:
            assert len(plain[:10]) == 10
        assert any("SET LOCAL hnsw.ef_search = '200'" in query["sql"] for query in there)


def test_writes_at_the_replica_name_its_alias(model: Any) -> None:
    with pytest.raises(InternalError) as caught:
        bulk_copy(model.objects.using("replica"), [model(category=1, embedding=VECTORS[0])])
    assert str(caught.value) == (
        "The database 'replica' only reads, as a replica does: let the router send writes to its "
        "primary, or name that by using()."
    )


def test_loads_go_to_the_primary(model: Any, servers: Pair) -> None:
    bulk_copy(model, [model(category=99, embedding=QUERY)])
    servers.catch_up()
    (found,) = nearest(model, "embedding", QUERY, k=1)
    assert (found.category, found.distance) == (99, 0)


def test_a_replica_that_lags(model: Any, servers: Pair) -> None:
    """It answers with what it has; the primary is asked by its alias."""
    servers.pause()
    model.objects.create(category=99, embedding=QUERY)
    assert nearest(model, "embedding", QUERY, k=1)[0].category != 99
    assert nearest(model.objects.using("primary"), "embedding", QUERY, k=1)[0].category == 99
    servers.pause("resume")
    servers.catch_up()
    assert nearest(model, "embedding", QUERY, k=1)[0].category == 99


def test_a_router_without_an_opinion(model: Any, settings: Any) -> None:
    settings.DATABASE_ROUTERS = [Undecided()]
    assert nearest(model, "embedding", QUERY, k=1).db == "default"
    instance = model.objects.using("primary").get(pk=exactly(1)[0])
    search = nearest(model.objects.using("replica"), "embedding", instance, k=3)
    assert [row.pk for row in search] != []
    assert instance.pk not in [row.pk for row in search]


def test_without_the_primary_searches_go_on(model: Any, servers: Pair) -> None:
    servers.kill_server("primary")
    try:
        connections["primary"].close()
        assert len(nearest(model, "embedding", QUERY, k=200)) == 200
        with pytest.raises(OperationalError):
            model.objects.create(category=1, embedding=QUERY)
    finally:
        connections["primary"].close()
        servers.start_server("primary")
