"""Chains of the ORM's steps behind ``matching()`` give what they give behind its keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Sum, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dorm_vector import matching, nearest
from tests.textapp.models import Article, Comment

Step = Callable[[Any, Any], Any]

#: What gives a queryset of rows again: ``rows`` are all of them.
STEPS: dict[str, Step] = {
    "filter": lambda found, rows: found.filter(category=1),
    "exclude": lambda found, rows: found.exclude(title__contains="x"),
    "a join to many": lambda found, rows: found.filter(comments__text__contains="a").distinct(),
    "no join": lambda found, rows: found.filter(comments=None),
    "or in a filter": lambda found, rows: found.filter(
        Q(category=0) | Q(comments__text="b")
    ).distinct(),
    "count": lambda found, rows: found.annotate(n=Count("comments", distinct=True)).filter(n__lt=3),
    "annotate": lambda found, rows: found.annotate(c=F("category") + 1).filter(c=2),
    "or": lambda found, rows: found | rows.filter(category=2),
    "or the other way": lambda found, rows: rows.filter(category=2) | found.order_by(),
    "and": lambda found, rows: found & rows.filter(category__lt=2),
    "within": lambda found, rows: rows.filter(pk__in=found),
    "without": lambda found, rows: rows.exclude(pk__in=found),
    "within its values": lambda found, rows: rows.filter(title__in=found.values("title")),
    "exists": lambda found, rows: rows.filter(Exists(found.filter(pk=OuterRef("pk")))),
    "of a category": lambda found, rows: rows.filter(
        Exists(found.filter(category=OuterRef("category")))
    ),
    "subquery": lambda found, rows: rows.annotate(
        s=Subquery(found.filter(pk=OuterRef("pk")).values("title")[:1])
    ).exclude(s=None),
    "through a relation": lambda found, rows: rows.filter(
        comments__in=Comment.objects.using(rows.db).filter(article__in=found)
    ).distinct(),
    "a slice": lambda found, rows: rows.filter(
        pk__in=list(found.order_by("pk").values_list("pk", flat=True)[1:4])
    ),
    "another search": lambda found, rows: matching(found, "d", annotation="another"),
    "another order": lambda found, rows: found.order_by("-title", "pk"),
    "defer": lambda found, rows: found.defer("body"),
    "select related": lambda found, rows: found.select_related("report"),
    "prefetch": lambda found, rows: found.prefetch_related("comments"),
    "alias": lambda found, rows: found.alias(z=Value(1)).filter(z=1),
    "nearest": lambda found, rows: nearest(
        found, "embedding", [1, 1, 1], metric="l2", annotation="near"
    ),
}
#: What is read at the end, the same whatever the order.
ENDS: dict[str, Callable[[Any], Any]] = {
    "rows": lambda found: sorted(row.pk for row in found),
    "values": lambda found: sorted(found.values_list("pk", "title")),
    "titles": lambda found: sorted(
        set(found.order_by().values_list("title", flat=True).distinct())
    ),
    "count": lambda found: found.count(),
    "exists": lambda found: found.exists(),
    "sum": lambda found: found.aggregate(s=Sum("category"))["s"],
    "groups": lambda found: sorted(
        found.order_by()
        .values("category")
        .annotate(m=Count("pk", distinct=True))
        .values_list("category", "m")
    ),
    "union": lambda found: sorted(
        found.order_by().values_list("title").union(found.order_by().values_list("title"))
    ),
    "in bulk": lambda found: sorted(found.in_bulk()),
    "iterator": lambda found: sorted(row.title for row in found.iterator(chunk_size=3)),
    "ordered": lambda found: list(found.order_by("title", "pk").values_list("pk", flat=True)[:5]),
}
# Of rows that are grouped Django makes no union in another, nor of distinct ones.
LAST = {"or", "or the other way", "and"}

words = st.sampled_from(["d", "b", "c", "d b", "d -b", "d or c", '"d b"', "-c b"])
titles = st.lists(st.sampled_from("bcdx"), min_size=1, max_size=3).map(" ".join)
tables = st.lists(
    st.tuples(titles, st.none() | titles, st.integers(0, 2), st.integers(0, 3)), max_size=8
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    table=tables,
    text=words,
    match=st.sampled_from(["all", "any"]),
    first=st.none() | st.sampled_from(sorted(LAST)),
    steps=st.lists(st.sampled_from(sorted(set(STEPS) - LAST)), max_size=3),
    end=st.sampled_from(sorted(ENDS)),
)
@pytest.mark.django_db(databases="__all__")
def test_chains(
    alias: str, table: Any, text: str, match: str, first: str | None, steps: Any, end: str
) -> None:
    rows = Article.objects.using(alias)
    Comment.objects.using(alias).all().delete()
    rows.all().delete()
    for title, body, category, comments in table:
        row = rows.create(title=title, body=body, category=category, embedding=[1, category, 1])
        for number in range(comments):
            row.comments.create(text="abc"[number])
    found = matching(rows, text, match=match)
    # Not an empty list, of which Django would make no subquery.
    expected = rows.filter(pk__in=[0, *(row.pk for row in found)]).annotate(rank=Value(1.0))
    for name in [*filter(None, [first]), *steps]:
        found, expected = STEPS[name](found, rows.all()), STEPS[name](expected, rows.all())
    assert ENDS[end](found) == ENDS[end](expected), (first, steps)
