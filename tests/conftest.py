from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from dorm_vector.engines import Engine, engine_for

# Behaviours that an engine lacks: (engine, name of the test) to the reason. They are run all the
# same, and the run fails where one of them works after all.
GAPS = {
    ("sqlite", "test_order_by_outer_ref"): (
        "SQLite does not let ORDER BY in a subquery refer to columns of the outer query."
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or "alias" not in callspec.params:
            continue
        engine = settings.ENGINES[callspec.params["alias"]]
        if reason := GAPS.get((engine, item.originalname)):  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(params=list(settings.ENGINES), ids=list(settings.ENGINES.values()))
def alias(request: pytest.FixtureRequest, db: None) -> str:
    """The alias of a database, for a test that runs on every engine."""
    return str(request.param)


@pytest.fixture
def connection(alias: str) -> Any:
    return connections[alias]


@pytest.fixture
def engine(connection: Any) -> Engine:
    return engine_for(connection)


@pytest.fixture
def db(request: pytest.FixtureRequest) -> Iterator[None]:
    """pytest-django's ``db`` for all databases, since the contract runs on each."""
    request.node.add_marker(pytest.mark.django_db(databases="__all__"))
    request.getfixturevalue("_django_db_helper")
    yield
