"""search_params without an alias: the parameters hold where a router sends the query."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from dorm_vector import L2Distance, search_params
from tests.testapp.models import Indexed

pytestmark = pytest.mark.django_db(databases=["default", "postgresql"], transaction=True)
QUERY = [1.0] * 8


class ToPostgreSQL:
    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "postgresql"


@pytest.fixture(autouse=True)
def routed(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [ToPostgreSQL()]


def sent(captured: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in captured if "SET LOCAL" in query["sql"]]


def search() -> list[Any]:
    return list(Indexed.objects.order_by(L2Distance("embedding", QUERY))[:5])


def shown() -> str | None:
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("SELECT current_setting('hnsw.ef_search', true)")
        return str(cursor.fetchone()[0])


def test_each_query_on_another_database() -> None:
    with CaptureQueriesContext(connections["postgresql"]) as captured, search_params(ef_search=77):
        search()
        search()
    assert sent(captured) == ["SET LOCAL hnsw.ef_search = '77'"] * 2


def test_nothing_is_left_behind() -> None:
    search()
    before = shown()
    with search_params(ef_search=77), transaction.atomic("postgresql"):
        search()
        assert shown() == "77"
    assert shown() == before
    with CaptureQueriesContext(connections["postgresql"]) as captured:
        search()
    assert not sent(captured)


def test_within_a_transaction_what_was_set_is_restored() -> None:
    with transaction.atomic("postgresql"):
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("SET LOCAL hnsw.ef_search = 50")
        with search_params(ef_search=77):
            search()
        assert shown() == "50"
