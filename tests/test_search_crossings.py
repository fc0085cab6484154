"""Where a search meets the rest of a query: nesting, groups, other searches, names and types."""

from __future__ import annotations

import decimal
import pickle
from typing import Any

import numpy as np
import pytest
from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import Count, Exists, FilteredRelation, OuterRef, Subquery, Sum, Value
from django.db.transaction import TransactionManagementError

from dorm_vector import InnerProduct, L2Distance, VectorAvg, fuse, matching, nearest
from tests.support.matrix import only
from tests.support.oracle import DISTANCES, l2
from tests.testapp.models import Chunk, Document, Indexed, Item, Portable, SubItem

QUERY = [1.0, 2.0, 0.5]
VECTORS = {
    f"n{number:02}": [float(number % 5), float(number * 7 % 4), float(number % 3) - 1]
    for number in range(20)
}


@pytest.fixture
def items(alias: str) -> Any:
    rows = [
        Item(name=name, category=number % 3, embedding=vector, other=vector[::-1])
        for number, (name, vector) in enumerate(VECTORS.items())
    ]
    Item.objects.using(alias).bulk_create([*rows, Item(name="null"), Item(name="other")])
    return Item.objects.using(alias)


def ranked(rows: Any, to: Any, metric: str = "l2", field: str = "embedding") -> list[Any]:
    """The keys of rows by numpy's distance, and by key where that is equal."""
    found = [
        (round(DISTANCES[metric](getattr(row, field), to), 9), row.pk)
        for row in rows
        if getattr(row, field) is not None
    ]
    return [key for _, key in sorted(found)]


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


# Inside another query


@pytest.mark.parametrize("exact", [False, True])
def test_exists_of_a_search_for_the_outer_row(items: Any, exact: bool) -> None:
    near = nearest(
        items.exclude(pk=OuterRef("pk")),
        "embedding",
        OuterRef("embedding"),
        metric="l2",
        max_distance=1.2,
        exact=exact,
    )
    rows = [row for row in items if row.embedding is not None]
    expected = {
        row.pk
        for row in rows
        if any(l2(row.embedding, x.embedding) <= 1.2 for x in rows if x.pk != row.pk)
    }
    assert len(expected) > 0
    assert set(keys(items.filter(Exists(near)))) == expected


def test_subquery_of_a_search_for_a_vector(items: Any) -> None:
    best = nearest(items.filter(category=OuterRef("category")), "embedding", QUERY, metric="l2")
    found = items.annotate(best=Subquery(best.values("pk")[:1])).values_list("category", "best")
    rows = list(items)
    for category, key in found:
        assert key == ranked([row for row in rows if row.category == category], QUERY)[0]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("part", [slice(1), slice(1, 2)])
@pytest.mark.parametrize("fields", [["pk"], ["name"], ["distance"]])
def test_neighbour_of_each_row(items: Any, exact: bool, part: slice, fields: list[str]) -> None:
    others = items.exclude(pk=OuterRef("pk"))
    near = nearest(others, "embedding", OuterRef("embedding"), metric="l2", exact=exact)
    found = items.annotate(near=Subquery(near.values(*fields)[part])).in_bulk()
    rows = {row.pk: row for row in items if row.embedding is not None}
    for key, row in rows.items():
        best = rows[ranked([x for x in rows.values() if x != row], row.embedding)[part][0]]
        best.distance = pytest.approx(l2(row.embedding, best.embedding), rel=1e-5)
        assert found[key].near == getattr(best, *fields)


def test_rows_among_the_nearest_to_a_vector_of_theirs(items: Any) -> None:
    near = nearest(items, "embedding", OuterRef("other"), metric="l2", k=3)
    rows = [row for row in items if row.embedding is not None]
    expected = {row.pk for row in rows if row.pk in ranked(rows, row.other)[:3]}
    assert 0 < len(expected) < len(rows)
    assert set(keys(items.filter(pk__in=near.values("pk")))) == expected


@pytest.mark.parametrize("exact", [False, True])
@only("postgresql")
def test_array_of_a_search_for_the_outer_row(items: Any, exact: bool) -> None:
    others = items.exclude(pk=OuterRef("pk"))
    near = nearest(others, "embedding", OuterRef("embedding"), metric="l2", exact=exact)
    found = items.annotate(near=ArraySubquery(near.values("pk")[:3]))
    rows = [row for row in items if row.embedding is not None]
    expected = {row.pk: ranked([x for x in rows if x != row], row.embedding)[:3] for row in rows}
    assert {row.pk: row.near for row in found if row.embedding is not None} == expected


@pytest.mark.parametrize("negated", [False, True])
def test_exists_of_a_search_for_a_vector_two_queries_out(items: Any, negated: bool) -> None:
    vector = Subquery(items.filter(pk=OuterRef(OuterRef("pk"))).values("embedding")[:1])
    others = items.exclude(pk=OuterRef("pk"))
    near = Exists(nearest(others, "embedding", vector, metric="l2", max_distance=1.2))
    rows = [row for row in items if row.embedding is not None]
    expected = {
        row.pk
        for row in rows
        if any(l2(row.embedding, x.embedding) <= 1.2 for x in rows if x.pk != row.pk)
    }
    if negated:
        expected = {row.pk for row in items} - expected
    assert set(keys(items.filter(~near if negated else near))) == expected


def test_search_for_the_vector_of_a_subquery(items: Any) -> None:
    row = items.get(name="n07")
    vector = Subquery(items.filter(pk=row.pk).values("embedding")[:1])
    found = nearest(items, "embedding", vector, metric="l2", k=6)
    assert keys(found) == ranked(items, row.embedding)[:6]


@pytest.mark.parametrize("end", [1, 5, 40])
def test_keys_of_a_search(items: Any, end: int) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2", k=end).values("pk")
    assert set(keys(items.filter(pk__in=found))) == set(ranked(items, QUERY)[:end])


def test_aggregate_of_a_search(items: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2", k=7)
    rows = {row.pk: row for row in items}
    expected = sum(rows[key].category for key in ranked(rows.values(), QUERY)[:7])
    assert found.aggregate(Count("pk"), Sum("category")) == {
        "pk__count": 7,
        "category__sum": expected,
    }


# Groups


def test_groups_stay_whole(items: Any) -> None:
    groups = items.exclude(embedding=None).values("category").annotate(c=VectorAvg("embedding"))
    found = list(nearest(groups, "c", QUERY, metric="l2"))
    means = {
        category: np.mean(
            [row.embedding for row in items if row.embedding and row.category == category], axis=0
        )
        for category in range(3)
    }
    expected = sorted(means, key=lambda category: l2(means[category], QUERY))
    assert [row["category"] for row in found] == expected
    assert [row["distance"] for row in found] == pytest.approx(
        [l2(means[category], QUERY) for category in expected], rel=1e-5
    )
    first = list(nearest(groups, "c", QUERY, metric="l2", k=1))
    assert [row["category"] for row in first] == expected[:1]


def test_counted_relations_before_and_after(alias: str) -> None:
    documents = chunked(alias)
    expected = {document.pk: document.chunks.count() for document in documents}
    order = ranked(documents, QUERY)
    before = nearest(documents.annotate(n=Count("chunks")), "embedding", QUERY, metric="l2")
    after = nearest(documents, "embedding", QUERY, metric="l2").annotate(n=Count("chunks"))
    for found in (before, after):
        assert [(row.pk, row.n) for row in found] == [(key, expected[key]) for key in order]


# Nothing to find, no end, unions of conditions


@pytest.mark.parametrize(
    "empty", [lambda rows: rows.none(), lambda rows: rows.filter(pk__in=[])], ids=["none", "in"]
)
def test_nothing_to_search(items: Any, empty: Any) -> None:
    assert list(nearest(empty(items), "embedding", QUERY, k=3)) == []
    assert list(empty(nearest(items, "embedding", QUERY, metric="l2"))) == []
    assert nearest(empty(items), "embedding", QUERY).count() == 0


def test_without_an_end(items: Any) -> None:
    row = items.get(name="n03")
    expected = [key for key in ranked(items, row.embedding) if key != row.pk]
    found = nearest(items, "embedding", row, metric="l2")
    assert keys(found) == expected
    assert keys(found[5:]) == expected[5:]


def test_united_with_rows_without_a_vector(items: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2") | items.filter(embedding=None)
    assert set(keys(found[:40])) == set(keys(items))


# Searches of searches


def test_search_of_a_search(items: Any) -> None:
    near = nearest(items, "other", QUERY, metric="l2", max_distance=2.5)
    found = nearest(near, "embedding", QUERY, metric="l2", k=10, annotation="second")
    rows = [row for row in items if row.other and l2(row.other, QUERY) <= 2.5]
    assert rows
    assert keys(found) == ranked(rows, QUERY)[:10]
    for row in found:
        assert row.distance == pytest.approx(l2(row.other, QUERY), rel=1e-5)
        assert row.second == pytest.approx(l2(row.embedding, QUERY), rel=1e-5, abs=1e-6)


def test_search_of_a_search_of_the_same_field(items: Any) -> None:
    near = nearest(items, "embedding", [0, 0, 0], metric="l2", max_distance=3.1)
    found = nearest(near, "embedding", QUERY, metric="ip", k=4, annotation="second")
    rows = [row for row in items if row.embedding and l2(row.embedding, [0, 0, 0]) <= 3.1]
    assert keys(found) == ranked(rows, QUERY, "ip")[:4]


def test_replaced_distance(items: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2").annotate(
        distance=L2Distance("other", [3.0, 0.0, 1.0])
    )
    expected = ranked([row for row in items if row.embedding], [3.0, 0.0, 1.0], field="other")
    assert keys(found.order_by("distance", "pk")[:6]) == expected[:6]


# Which row is left out


def test_instance_of_a_child(items: Any, alias: str) -> None:
    row = SubItem(name="sub", embedding=QUERY, extra=[1, 2])
    row.save(using=alias)
    expected = [key for key in ranked(items, QUERY) if key != row.pk]
    assert keys(nearest(items, "embedding", row, metric="l2")) == expected
    assert keys(nearest(SubItem.objects.using(alias), "embedding", row, metric="l2")) == []


def test_values_of_a_search_stay_tuples(items: Any) -> None:
    expected = ranked(items, QUERY)[:3]
    found = nearest(items.values_list("pk"), "embedding", QUERY, metric="l2", k=3)
    assert [row[0] for row in found] == expected
    assert all(isinstance(row, tuple) for row in found)


# Names and types


def test_named_annotation(items: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2", k=5, annotation="score")
    assert keys(found) == ranked(items, QUERY)[:5]
    assert [row.score for row in found] == pytest.approx(
        [l2(row.embedding, QUERY) for row in found], rel=1e-5, abs=1e-6
    )
    assert not hasattr(found[0], "distance")


def test_annotation_is_a_field(items: Any) -> None:
    with pytest.raises(ValueError, match="annotation=") as error:
        nearest(items, "embedding", QUERY, annotation="name")
    assert "'name', which is a field of testapp.Item" in str(error.value)


@pytest.mark.parametrize("name", ["pk", "subitem", "category"])
def test_annotation_is_a_name_of_the_model(name: str) -> None:
    with pytest.raises(ValueError, match="nearest\\(\\)") as error:
        nearest(Item.objects, "embedding", QUERY, annotation=name)
    assert str(error.value) == (
        f"nearest() would annotate its rows with {name!r}, which is a field of testapp.Item: "
        "pass another name as annotation=."
    )


@pytest.mark.parametrize(
    "rows",
    [
        lambda: Item.objects.annotate(distance=Value(1)),
        lambda: Item.objects.alias(distance=Value(1)),
        lambda: Item.objects.extra(select={"distance": "1"}),
        lambda: Item.objects.annotate(distance=FilteredRelation("subitem")),
    ],
    ids=["annotate", "alias", "extra", "relation"],
)
def test_annotation_is_there(rows: Any) -> None:
    with pytest.raises(ValueError, match="nearest\\(\\)") as error:
        nearest(rows(), "embedding", QUERY)
    assert str(error.value) == (
        "nearest() would annotate its rows with 'distance', an annotation that they already have: "
        "pass another name as annotation=."
    )


@pytest.mark.parametrize(
    "search",
    [
        lambda **options: nearest(Item.objects, "embedding", QUERY, **options),
        lambda **options: matching(Item.objects.using("postgresql"), "a", **options),
        lambda **options: fuse(Item.objects.order_by("pk")[:3], **options),
    ],
    ids=["nearest", "matching", "fuse"],
)
class TestNoNames:
    @pytest.mark.parametrize("name", [None, 5, "", b"distance"])
    def test_no_text(self, search: Any, name: Any, request: pytest.FixtureRequest) -> None:
        caller = request.node.callspec.id.split("-")[-1]
        with pytest.raises(TypeError, match="annotation=") as error:
            search(annotation=name)
        assert str(error.value) == f"{caller}() takes a name as annotation=, not {name!r}."

    def test_percent(self, search: Any, request: pytest.FixtureRequest) -> None:
        """psycopg would take it for a parameter."""
        caller = request.node.callspec.id
        with pytest.raises(ValueError, match="annotation=") as error:
            search(annotation="100%")
        assert str(error.value) == (
            f"{caller}() takes an annotation= without a percent sign, not '100%'."
        )


@pytest.mark.parametrize("k", [np.int64(3), np.int8(3), 3])
def test_any_integer(items: Any, k: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2", k=k)
    assert keys(found) == ranked(items, QUERY)[:3]


@pytest.mark.parametrize("number", [np.float32(1.5), np.float64(1.5), np.int8(1), 1.5])
def test_any_number(items: Any, number: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2", max_distance=number)
    rows = [row for row in items if row.embedding and l2(row.embedding, QUERY) <= float(number)]
    assert keys(found) == ranked(rows, QUERY)


@pytest.mark.parametrize("k", [True, 1.0, -1, "3", np.float64(3), decimal.Decimal(3)])
def test_not_a_number_of_rows(k: Any) -> None:
    with pytest.raises(ValueError, match="nearest\\(\\) needs a k of 0 or more rows, not"):
        nearest(Item.objects, "embedding", QUERY, k=k)


def test_model_and_manager() -> None:
    assert str(nearest(Item, "embedding", QUERY).query) == str(
        nearest(Item.objects, "embedding", QUERY).query
    )


def test_raw_queryset() -> None:
    with pytest.raises(TypeError, match="RawQuerySet"):
        nearest(Item.objects.raw("SELECT 1"), "embedding", QUERY)  # type: ignore[type-var]


# Parents and chunks


def chunked(alias: str) -> Any:
    """Documents with no, one and several chunks."""
    Document.objects.using(alias).bulk_create(
        Document(pk=number + 1, title=f"d{number}", embedding=list(VECTORS.values())[number])
        for number in range(12)
    )
    Chunk.objects.using(alias).bulk_create(
        Chunk(document_id=number % 9 + 1, embedding=vector if number % 6 else None)
        for number, vector in enumerate(VECTORS.values())
    )
    return Document.objects.using(alias)


def nearest_chunks(alias: str, to: Any) -> list[tuple[float, int]]:
    best: dict[int, float] = {}
    for chunk in Chunk.objects.using(alias).exclude(embedding=None):
        distance = l2(chunk.embedding, to)
        best[chunk.document_id] = min(distance, best.get(chunk.document_id, distance))
    return sorted((distance, key) for key, distance in best.items())


def test_parents_come_once(alias: str) -> None:
    documents = chunked(alias)
    expected = nearest_chunks(alias, QUERY)
    search = nearest(documents, "chunks__embedding", QUERY, metric="l2")
    for found, part in (
        (search, expected),
        (search[:3], expected[:3]),
        (search[2:5], expected[2:5]),
    ):
        assert [(row.pk, row.distance) for row in found] == [
            (key, pytest.approx(distance, rel=1e-5, abs=1e-6)) for distance, key in part
        ]
    assert search.count() == len(expected)


def test_parents_within_a_distance(alias: str) -> None:
    documents = chunked(alias)
    found = nearest(documents, "chunks__embedding", QUERY, metric="l2", max_distance=1.6)
    expected = [key for distance, key in nearest_chunks(alias, QUERY) if distance <= 1.6]
    assert keys(found) == expected


# Locks


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize("options", [{}, {"ef_search": 100}], ids=["plain", "settings"])
def test_locks_want_a_transaction(options: Any) -> None:
    rows = nearest(
        Indexed.objects.using("postgresql"), "embedding", [1.0] * 8, metric="l2", k=3, **options
    )
    with pytest.raises(TransactionManagementError):
        list(rows.select_for_update())
    with transaction.atomic(using="postgresql"):
        assert list(rows.select_for_update()) == []


# Inner products


def test_exact_inner_products(items: Any) -> None:
    items.all().delete()
    rows = [Item(name=f"p{i}", embedding=[1.0, 1.0, float(i)]) for i in range(6)]
    items.bulk_create(rows)
    found = nearest(items, "embedding", [1.0, 0.0, 0.0], metric="ip", max_distance=-1)
    assert [row.name for row in found] == [f"p{i}" for i in range(6)]
    assert [row.distance for row in found] == [-1.0] * 6


@pytest.mark.parametrize(
    ("vector", "to"),
    [([2, -3, 0], [4, 5, 0]), ([0.5, 0.25, 0], [1, 2, 0]), ([300, 7, 0], [3, -1, 0])],
    ids=str,
)
def test_equal_inner_products(items: Any, vector: list[float], to: list[float]) -> None:
    items.all().delete()
    items.bulk_create(Item(name=f"p{i}", embedding=[vector[0], vector[1], i / 8]) for i in range(6))
    product = vector[0] * to[0] + vector[1] * to[1]
    found = nearest(items, "embedding", to, metric="ip", max_distance=-product)
    assert [(row.name, row.distance) for row in found] == [(f"p{i}", -product) for i in range(6)]
    shown = items.annotate(product=InnerProduct("embedding", to))
    assert shown.filter(product__gte=product).count() == 6


# One sequence


@pytest.mark.parametrize("same", [True, False], ids=["equal", "different"])
def test_pages_of_one_sequence(alias: str, same: bool) -> None:
    vectors = np.random.default_rng(5).normal(size=(300, 8)).round(3)
    Portable.objects.using(alias).bulk_create(
        Portable(category=1, embedding=[1.0] * 8 if same else list(vector)) for vector in vectors
    )
    search = nearest(Portable.objects.using(alias), "embedding", [0.5] * 7 + [0.1])
    whole = list(search.values_list("pk", flat=True)[:60])
    assert len(set(whole)) == 60
    for size in (5, 7, 20):
        pages = [keys(search[i : i + size]) for i in range(0, 60, size)]
        assert [key for page in pages for key in page][:60] == whole
    assert set(
        Portable.objects.using(alias)
        .filter(pk__in=search.values("pk")[:4])
        .values_list("pk", flat=True)
    ) == (set(whole[:4]))


def test_pickled(items: Any) -> None:
    found = nearest(items, "embedding", QUERY, metric="l2", k=5)
    assert keys(pickle.loads(pickle.dumps(found))) == ranked(items, QUERY)[:5]
    again = items.all()
    again.query = pickle.loads(pickle.dumps(found.query))
    assert keys(again) == ranked(items, QUERY)[:5]
