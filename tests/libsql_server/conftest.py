from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.libsql_server import Shop, drop_tables, opened
from tests.support.sqld import Server, running_sqld


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_sqld(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def database(server: Server, django_db_blocker: Any) -> Iterator[Any]:
    """An empty database."""
    with django_db_blocker.unblock():
        with opened(server.url) as wrapper:
            yield wrapper
        server.start()  # in case that a test has failed while it was down
        with opened(server.url) as wrapper:
            drop_tables(wrapper)


@pytest.fixture
def shop(database: Any) -> Shop:
    return Shop(database)
