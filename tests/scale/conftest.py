from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from tests.support.vectorscale import running_vectorscale


@pytest.fixture(scope="session")
def vectorscale_server() -> Iterator[dict[str, Any]]:
    with running_vectorscale() as settings:
        yield settings


@pytest.fixture
def vectorscale(
    vectorscale_server: dict[str, Any], open_database: Callable[..., Any], django_db_setup: None
) -> Iterator[Any]:
    """The wrapper of an empty database of a server with pgvectorscale, under "scratch"."""
    yield open_database("postgresql", **vectorscale_server)
    with connections["scratch"].cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        cursor.execute("DROP EXTENSION IF EXISTS vector CASCADE")
