from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from dorm_vector.backends.libsql import dbapi
from tests.support.libsql_backend import create_tables


@pytest.fixture
def raw() -> Iterator[dbapi.Connection]:
    """A connection to a database in memory, with a table ``t`` of an untyped column."""
    with closing(dbapi.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (v)")
        yield connection


@pytest.fixture
def database(open_database: Any, tmp_path: Path) -> Any:
    """A file, with tables, outside of any transaction, under the alias "scratch"."""
    connection = open_database("libsql", NAME=str(tmp_path / "db"))
    create_tables(connection)
    return connection


@pytest.fixture
def both(open_database: Any) -> Iterator[tuple[Any, Any]]:
    """Empty tables on Django's own SQLite backend and on this one: ("stock", "scratch")."""
    stock = {**connections["default"].settings_dict, "NAME": ":memory:"}
    connections.settings["stock"] = stock
    connections["stock"] = type(connections["default"])(stock, alias="stock")
    create_tables(connections["stock"])
    create_tables(open_database("libsql", NAME=":memory:"))
    yield "stock", "scratch"
    # close() leaves a database in memory open.
    connections["stock"].connection.close()
    del connections["stock"], connections.settings["stock"]
