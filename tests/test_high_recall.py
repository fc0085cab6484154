"""``nearest(..., recall="high")``: what an index misses by itself is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.db import connections, migrations

from dorm_vector import VectorIndex, nearest
from dorm_vector.engines import engine_for
from dorm_vector.testing import explain_nearest
from tests.support.schema import Schema, hnsw
from tests.testapp.models import Chunk, Document, Indexed, Portable

ROWS, DIMENSIONS = 1600, 8


@pytest.fixture
def vectors() -> np.ndarray:
    """Points in clusters, of which graphs lose more than of points anywhere."""
    random = np.random.default_rng(11)
    centres = random.normal(size=(30, DIMENSIONS))
    chosen = centres[random.integers(0, 30, ROWS)]
    return (chosen + 0.3 * random.normal(size=(ROWS, DIMENSIONS))).astype("f4")


@pytest.fixture
def rows(db: None, alias: str, vectors: np.ndarray) -> Any:
    rows = Portable.objects.using(alias)
    rows.bulk_create(
        Portable(pk=number + 1, category=number % 20, embedding=vector)
        for number, vector in enumerate(vectors)
    )
    if connections[alias].vendor == "postgresql":
        with connections[alias].cursor() as cursor:
            # A vacuum would change the index between two searches.
            cursor.execute("LOCK testapp_portable IN SHARE UPDATE EXCLUSIVE MODE")
            cursor.execute("ANALYZE testapp_portable; SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off; SET LOCAL hnsw.ef_search = 10")
    return rows


def exact(vectors: np.ndarray, query: Any, k: int, matching: Any = None) -> list[int]:
    units = vectors.astype("f8") / np.linalg.norm(vectors.astype("f8"), axis=1, keepdims=True)
    distances = 1 - units @ (query / np.linalg.norm(query))
    if matching is not None:
        distances[~matching] = np.inf
    return [int(number) + 1 for number in np.argsort(distances)[:k]]


def recall(found: Any, wanted: list[int]) -> float:
    return len({row.pk for row in found} & set(wanted)) / len(wanted)


QUERIES = np.random.default_rng(12).normal(size=(20, DIMENSIONS))


class TestRecall:
    @pytest.mark.parametrize("k", [10, 100])
    def test_without_a_filter(self, rows: Any, vectors: np.ndarray, k: int) -> None:
        recalls = [
            recall(nearest(rows, "embedding", query, k=k, recall="high"), exact(vectors, query, k))
            for query in QUERIES
        ]
        assert np.mean(recalls) >= 0.99

    @pytest.mark.parametrize("category", [3, 19])
    def test_with_a_filter(self, rows: Any, vectors: np.ndarray, category: int) -> None:
        matching = np.arange(ROWS) % 20 == category
        for query in QUERIES:
            found = nearest(rows.filter(category=category), "embedding", query, k=10, recall="high")
            assert recall(found, exact(vectors, query, 10, matching)) >= 0.9

    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_it_is_more_than_the_default(self, rows: Any, vectors: np.ndarray, alias: str) -> None:
        """With a filter that one in two rows passes, of which an index is searched."""
        half = rows.filter(category__lt=10)
        matching = np.arange(ROWS) % 20 < 10
        plain, high = (
            np.mean(
                [
                    recall(
                        nearest(half, "embedding", query, k=10, **options),
                        exact(vectors, query, 10, matching),
                    )
                    for query in QUERIES
                ]
            )
            for options in ({}, {"recall": "high"})
        )
        assert plain < high
        assert high >= 0.99

    def test_pages_are_one_sequence(self, rows: Any) -> None:
        for searched in (rows.all(), rows.filter(category__lt=10)):
            search = nearest(searched, "embedding", QUERIES[0], recall="high")
            whole = [row.pk for row in search[:120]]
            assert len(set(whole)) == 120
            pages = [row.pk for start in range(0, 120, 8) for row in search[start : start + 8]]
            assert pages == whole
            assert [row.pk for row in search[3:50]] == whole[3:50]
            assert list(search.values_list("pk", flat=True)[:30]) == whole[:30]

    def test_it_is_sorted_and_complete(self, rows: Any, vectors: np.ndarray) -> None:
        """Few rows match: all of them are there."""
        rows.filter(pk__lte=25).update(category=99)
        found = list(
            nearest(rows.filter(category=99), "embedding", QUERIES[1], k=40, recall="high")
        )
        assert [row.pk for row in found] == exact(vectors[:25], QUERIES[1], 25)
        distances = [row.distance for row in found]
        assert distances == sorted(distances)

    def test_no_rows(self, rows: Any) -> None:
        found = nearest(rows.filter(category=77), "embedding", QUERIES[0], k=5, recall="high")
        assert list(found) == []
        none = nearest(rows.filter(pk__in=[]), "embedding", QUERIES[0], k=5, recall="high")
        assert list(none) == []

    def test_of_an_instance(self, rows: Any, vectors: np.ndarray) -> None:
        row = rows.get(pk=7)
        found = nearest(rows, "embedding", row, k=10, recall="high")
        wanted = [pk for pk in exact(vectors, vectors[6], 11) if pk != 7]
        assert recall(found, wanted) >= 0.9
        assert row.pk not in {each.pk for each in found}

    def test_across_a_relation(self, alias: str) -> None:
        documents = Document.objects.using(alias)
        for title in "abc":
            document = documents.create(title=title, embedding=[1, 1, 1])
            Chunk.objects.using(alias).create(document=document, embedding=[ord(title), 1, 2])
        found = nearest(documents, "chunks__embedding", [99, 1, 2], k=2, recall="high")
        assert {row.title for row in found} == {"b", "c"}


class TestPlans:
    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_the_settings_are_local(
        self, rows: Any, alias: str, django_assert_num_queries: Any
    ) -> None:
        connection = connections[alias]
        with connection.cursor() as cursor:
            cursor.execute("SHOW hnsw.iterative_scan")
            before = cursor.fetchone()
        list(nearest(rows, "embedding", QUERIES[0], k=10, recall="high"))
        with connection.cursor() as cursor:
            cursor.execute("SHOW hnsw.iterative_scan")
            assert cursor.fetchone() == before
            cursor.execute("SHOW hnsw.ef_search")
            assert cursor.fetchone() == ("10",)

    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_few_rows_that_pass_are_all_read(self, rows: Any, alias: str) -> None:
        few = nearest(rows.filter(category=3), "embedding", QUERIES[0], k=10, recall="high")
        found = explain_nearest(few)
        assert (found.index, found.reason) == (
            None,
            "With recall='high' all rows that pass the filter are read: an index would have to "
            "look at too many others.",
        )
        every = nearest(rows, "embedding", QUERIES[0], k=10, recall="high")
        assert explain_nearest(every).index == "portable_embedding"

    @pytest.mark.parametrize("alias", ["libsql"])
    def test_libsql_reads_all_rows(self, rows: Any, alias: str) -> None:
        found = explain_nearest(nearest(rows, "embedding", QUERIES[0], k=10, recall="high"))
        assert (found.index, found.reason) == (
            None,
            "With recall='high' all rows are read: libSQL's graph cannot search any further.",
        )

    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_ivfflat(self, db: None, alias: str, vectors: np.ndarray) -> None:
        rows = Indexed.objects.using(alias)
        rows.bulk_create(
            Indexed(pk=number + 1, category=1, embedding=vector)
            for number, vector in enumerate(vectors)
        )
        with connections[alias].cursor() as cursor:
            cursor.execute("REINDEX INDEX indexed_ip; ANALYZE testapp_indexed")
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        products = QUERIES @ vectors.T.astype("f8")
        plain, high = (
            np.mean(
                [
                    recall(
                        nearest(rows, "embedding", query, k=10, metric="ip", **options),
                        [int(number) + 1 for number in np.argsort(-product)[:10]],
                    )
                    for query, product in zip(QUERIES, products, strict=True)
                ]
            )
            for options in ({}, {"recall": "high"})
        )
        assert plain < high


class TestPrecision:
    """Indexes of signs name more candidates."""

    def test_signs(self, scratch: Any, vectors: np.ndarray) -> None:
        connection = scratch()
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
        self.check(Schema("scratch"), hnsw(metric="cosine", precision="bit"))

    def test_signs_on_sqlite(self, open_database: Any, tmp_path: Any) -> None:
        open_database("default", NAME=str(tmp_path / "db"))
        index = VectorIndex(fields=["embedding"], name="i", metric="cosine", precision="bit")
        self.check(Schema("scratch"), index)

    def check(self, schema: Schema, index: Any) -> None:
        random = np.random.default_rng(3)
        vectors = random.normal(size=(500, 3)).astype("f4")
        rows = schema.model.objects.using("scratch")
        rows.bulk_create(schema.model(pk=n + 1, embedding=v) for n, v in enumerate(vectors))
        schema.run(migrations.AddIndex("thing", index))
        rows = schema.model.objects.using("scratch")
        if schema.connection.vendor == "postgresql":
            with schema.connection.cursor() as cursor:
                cursor.execute("ANALYZE shop_thing; SET enable_seqscan = off")
        query = [1.0, 0.5, 0.2]
        wanted = exact(vectors, np.array(query), 10)
        plain, high = (
            nearest(rows, "embedding", query, k=10, **options)
            for options in ({}, {"recall": "high"})
        )
        assert recall(high, wanted) >= 0.9
        engine = engine_for(schema.connection)
        candidates = [
            engine.steps(each.query, each.query.search, index)[0].candidates
            for each in (plain, high)
        ]
        assert candidates == [400, 1000]


@pytest.mark.parametrize("given", ["low", "HIGH", 0.9, True, 1])
def test_other_values(given: Any) -> None:
    with pytest.raises(ValueError, match="recall") as caught:
        nearest(Portable, "embedding", QUERIES[0], recall=given)
    assert str(caught.value) == f"nearest() takes recall='high', or None, not {given!r}."
