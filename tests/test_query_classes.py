"""A search keeps the Query class that a queryset has: a project's own, and django-cte's."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.db import connections
from django.db.models import Q, QuerySet
from django.db.models.sql.query import Query
from django_cte import CTE, with_cte

from dorm_vector import nearest
from tests.testapp.models import Item

QUERY = [1, 0, 0]


class TenantQuery(Query):
    """Narrows what it reads to the rows of a tenant, as late as Django lets it."""

    narrowed = False

    def get_compiler(self, *args: Any, **kwargs: Any) -> Any:
        if self.narrowed:
            return super().get_compiler(*args, **kwargs)
        narrowed = self.clone()
        narrowed.add_q(Q(category=1))
        narrowed.narrowed = True
        return narrowed.get_compiler(*args, **kwargs)


@pytest.fixture
def items(alias: str) -> Any:
    for number in range(6):
        vector = [1, number, 0]
        Item.objects.using(alias).create(name=str(number), category=number % 2, embedding=vector)
    return Item.objects.using(alias)


def names(rows: Any) -> list[str]:
    return [row.name for row in rows]


def test_a_query_that_narrows_itself(items: Any) -> None:
    rows: QuerySet[Item] = QuerySet(Item, TenantQuery(Item), items.db)
    assert names(nearest(rows, "embedding", QUERY, metric="l2", k=2)) == ["1", "3"]
    assert nearest(rows, "embedding", QUERY, metric="l2").count() == 3


@pytest.mark.parametrize("first", ["search", "cte"])
def test_common_table_expressions(items: Any, first: str) -> None:
    cte = CTE(items.filter(category=1).values("id"))
    joined = cte.join(items.all(), id=cte.col.id)
    if first == "cte":
        found = nearest(with_cte(cte, select=joined), "embedding", QUERY, metric="l2")[:2]
    else:
        found = with_cte(cte, select=nearest(joined, "embedding", QUERY, metric="l2"))[:2]
    assert names(found) == ["1", "3"]


def test_pickled(items: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2", k=2)
    again = items.all()
    again.query = pickle.loads(pickle.dumps(found.query))
    assert names(again) == names(pickle.loads(pickle.dumps(found))) == ["0", "1"]


def test_showing_a_query_opens_no_connection(open_database: Any, django_db_setup: None) -> None:
    wrapper = open_database("default")
    wrapper.close()
    assert "ORDER BY" in str(nearest(Item.objects.using("scratch"), "embedding", QUERY).query)
    assert connections["scratch"].connection is None
