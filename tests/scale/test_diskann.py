"""``DiskAnnIndex`` on a server with pgvectorscale: migrations, and what searches find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.contrib.postgres.fields import ArrayField
from django.core.management import call_command
from django.core.paginator import Paginator
from django.db import DatabaseError, connections, migrations
from django.test.utils import CaptureQueriesContext

from dorm_vector import (
    CosineDistance,
    DiskAnnIndex,
    VectorExtension,
    VectorIndex,
    engine_for,
    models,
    nearest,
    search_params,
)
from dorm_vector.testing import explain_nearest
from tests.support.migrating import Project
from tests.support.planner import forced

ROWS, DIMENSIONS = 1500, 32
RANDOM = np.random.default_rng(21)
CENTRES = RANDOM.normal(size=(30, DIMENSIONS))
VECTORS = (CENTRES[np.arange(ROWS) % 30] + 0.4 * RANDOM.normal(size=(ROWS, DIMENSIONS))).astype(
    "f4"
)
QUERIES = VECTORS[:8] + 0.1 * RANDOM.normal(size=(8, DIMENSIONS))
CATEGORIES = 20


def diskann(**options: Any) -> DiskAnnIndex:
    return DiskAnnIndex(
        **{"fields": ["embedding"], "name": "article_disk", "metric": "cosine", **options}
    )


def exactly(query: Any, k: int, metric: str, matching: Any = True) -> list[int]:
    query, rows = np.asarray(query, "f4").astype("f8"), VECTORS.astype("f8")
    products = rows @ query
    distances = {
        "cosine": 1 - products / np.linalg.norm(rows, axis=1) / np.linalg.norm(query),
        "l2": np.linalg.norm(rows - query, axis=1),
        "ip": -products,
    }[metric]
    distances = np.where(matching, distances, np.inf)
    return [int(place) + 1 for place in np.argsort(distances)[:k]]


@pytest.fixture
def project(vectorscale: Any) -> Project:
    """A table with its rows, before it has an index."""
    fields = [
        ("id", models.AutoField(primary_key=True)),
        ("category", models.IntegerField()),
        ("topics", ArrayField(models.SmallIntegerField())),
        ("embedding", models.VectorField(DIMENSIONS, null=True)),
    ]
    created = migrations.CreateModel("Article", fields)
    project = Project(VectorExtension(name="vectorscale"), created)
    model = project.model()
    project.rows().bulk_create(
        model(category=n % CATEGORIES, topics=[n % CATEGORIES, 100 + n % 3], embedding=vector)
        for n, vector in enumerate(VECTORS)
    )
    return project


def indexed(project: Project, **options: Any) -> Any:
    project.run(migrations.AddIndex("article", diskann(**options)))
    project.execute("ANALYZE shop_article")
    return project.rows()


class TestSearching:
    @pytest.mark.parametrize(
        "options",
        [
            {"metric": "cosine"},
            {"metric": "l2"},
            {"metric": "ip"},
            {"storage_layout": "plain", "num_neighbors": 20, "max_alpha": 1.5},
            {"num_dimensions": 24, "search_list_size": 60},
            {"labels": "topics"},
        ],
        ids=["cosine", "l2", "ip", "plain", "first dimensions", "labels"],
    )
    def test_what_is_near_is_found_in_order(self, project: Project, options: Any) -> None:
        rows = indexed(project, **options)
        metric = options.get("metric", "cosine")
        recalls = []
        with forced("scratch"):
            for query in QUERIES:
                for k in (1, 10, 30):
                    found = nearest(rows, "embedding", query, k=k)
                    distances = [row.distance for row in found]
                    assert len(distances) == k
                    assert distances == sorted(distances)
                    keys = {row.pk for row in found}
                    recalls.append(len(keys & set(exactly(query, k, metric))) / k)
            assert explain_nearest(nearest(rows, "embedding", QUERIES[0], k=10)).index == (
                "article_disk"
            )
        assert np.mean(recalls) >= 0.97

    def test_filters_and_many_rows_are_whole(self, project: Project) -> None:
        rows = indexed(project)
        matching = np.arange(ROWS) % CATEGORIES == 7
        with forced("scratch"):
            for query in QUERIES[:3]:
                assert len(nearest(rows.filter(category=7), "embedding", query, k=40)) == 40
                filtered = nearest(
                    rows.filter(category=7), "embedding", query, k=40, query_rescore=1000
                )
                wanted = set(exactly(query, 40, "cosine", matching))
                assert len({row.pk for row in filtered} & wanted) >= 36
                assert len(nearest(rows, "embedding", query, k=1200)) == 1200
                # All that there are, where fewer match than are asked for.
                assert len(nearest(rows.filter(category=7), "embedding", query, k=100)) == 75

    def test_labels_are_searched_in_the_graph(self, project: Project) -> None:
        rows = indexed(project, labels="topics")
        with forced("scratch"):
            for wanted, matching in (
                ([7], np.arange(ROWS) % CATEGORIES == 7),
                ([7, 8], np.isin(np.arange(ROWS) % CATEGORIES, [7, 8])),
                ([101], np.arange(ROWS) % 3 == 1),
            ):
                search = nearest(rows.filter(topics__overlap=wanted), "embedding", QUERIES[0], k=10)
                found = {row.pk for row in search}
                assert len(found) == 10
                assert all(matching[key - 1] for key in found)
                assert len(found & set(exactly(QUERIES[0], 10, "cosine", matching))) >= 9
                assert "Index Cond: (topics && " in explain_nearest(search).plan
            assert list(nearest(rows.filter(topics__overlap=[999]), "embedding", QUERIES[0])) == []

    def test_pages_are_of_one_sequence(self, project: Project) -> None:
        rows = indexed(project)
        with forced("scratch"):
            search = nearest(rows, "embedding", QUERIES[0])
            pages = Paginator(search, 7)
            keys = [row.pk for number in range(1, 31) for row in pages.page(number)]
            assert len(set(keys)) == 210
            assert [row.pk for row in search[:210]] == keys
            by_hand = [row.pk for row in [*search[:33], *search[33:90], *search[90:210]]]
            assert by_hand == keys

    def test_values_and_distances_left_out(self, project: Project) -> None:
        """Nothing shows then that rows came out of order: they are sorted all the same."""
        rows = indexed(project)
        with forced("scratch"):
            for query in QUERIES[:4]:
                search = nearest(rows, "embedding", query, k=30)
                keys = list(search.values_list("pk", flat=True))
                assert keys == [row.pk for row in search]

    def test_recall_high(self, project: Project) -> None:
        rows = indexed(project)
        with forced("scratch"):
            for query in QUERIES:
                found = {row.pk for row in nearest(rows, "embedding", query, k=50, recall="high")}
                assert len(found & set(exactly(query, 50, "cosine"))) >= 49

    def test_zero_and_null_vectors(self, project: Project) -> None:
        rows = indexed(project)
        model = project.model()
        zero = rows.create(category=1, topics=[], embedding=[0.0] * DIMENSIONS)
        null = rows.create(category=1, topics=[], embedding=None)
        assert isinstance(zero, model)
        with forced("scratch"):
            found = {row.pk for row in nearest(rows, "embedding", QUERIES[0], k=ROWS + 2)}
            assert found == set(range(1, ROWS + 1))
            assert not {zero.pk, null.pk} & found
            assert list(nearest(rows, "embedding", zero)) == []

    def test_writes_are_found(self, project: Project) -> None:
        rows = indexed(project)
        with forced("scratch"):
            made = rows.create(category=1, topics=[], embedding=QUERIES[0])
            assert nearest(rows, "embedding", QUERIES[0], k=1)[0].pk == made.pk
            rows.filter(pk=made.pk).update(embedding=-QUERIES[0])
            assert nearest(rows, "embedding", -QUERIES[0], k=1)[0].pk == made.pk
            made.delete()
            assert (
                nearest(rows, "embedding", QUERIES[0], k=1)[0].pk
                == (exactly(QUERIES[0], 1, "cosine")[0])
            )


class TestSettings:
    def settings(self, search: Callable[[], Any]) -> list[str]:
        with CaptureQueriesContext(connections["scratch"]) as captured:
            search()
        return [q["sql"] for q in captured if q["sql"].startswith("SET LOCAL diskann")]

    def test_candidates_follow_the_rows(self, project: Project) -> None:
        rows = indexed(project)
        assert self.settings(lambda: list(nearest(rows, "embedding", QUERIES[0], k=10))) == [
            "SET LOCAL diskann.query_rescore = '400'"
        ]
        given = self.settings(
            lambda: list(
                nearest(
                    rows,
                    "embedding",
                    QUERIES[0],
                    k=10,
                    query_rescore=77,
                    query_search_list_size=200,
                )
            )
        )
        assert given == [
            "SET LOCAL diskann.query_rescore = '77'",
            "SET LOCAL diskann.query_search_list_size = '200'",
        ]

    def test_whole_vectors_need_no_more(self, project: Project) -> None:
        rows = indexed(project, storage_layout="plain")
        assert self.settings(lambda: list(nearest(rows, "embedding", QUERIES[0], k=10))) == []

    def test_of_a_block(self, project: Project) -> None:
        rows = indexed(project)
        current = "SELECT current_setting('diskann.query_rescore')"
        before = project.execute(current)
        with search_params("scratch", query_rescore=900):
            assert project.execute(current) == [("900",)]
            assert len(rows.order_by(CosineDistance("embedding", QUERIES[0]))[:10]) == 10
        assert project.execute(current) == before


class TestMigrations:
    def test_forwards_and_backwards_twice(self, project: Project) -> None:
        operation = migrations.AddIndex("article", diskann(labels="topics", num_neighbors=40))
        for _ in range(2):
            project.run(operation)
            (definition,) = project.execute(
                "SELECT indexdef FROM pg_indexes WHERE indexname = 'article_disk'"
            )
            assert definition[0] == (
                # Defaults of pgvectorscale's, both of them.
                "CREATE INDEX article_disk ON public.shop_article USING diskann (embedding, "
                "topics) WITH (num_neighbors='40')"
            )
            project.undo(operation)
        assert project.execute("SELECT 1 FROM pg_indexes WHERE indexname = 'article_disk'") == []

    def test_the_extension(self, project: Project) -> None:
        installed = "SELECT extname FROM pg_extension WHERE extname LIKE 'vec%' ORDER BY 1"
        operation = VectorExtension(name="vectorscale")
        project.run(operation)
        assert project.execute(installed) == [("vector",), ("vectorscale",)]
        project.undo(operation)
        assert project.execute(installed) == [("vector",)]
        project.run(operation)
        project.run(migrations.AddIndex("article", diskann()))
        with (
            pytest.raises(DatabaseError, match="cannot be dropped") as caught,
            connections["scratch"].schema_editor() as editor,
        ):
            operation.database_backwards("shop", editor, project.state, project.state)
        assert str(caught.value) == (
            "The extension vectorscale cannot be dropped while indexes, columns or other "
            "extensions of the database postgres use it: migrate the apps that declare them back "
            "first."
        )

    def test_it_is_built_again(self, project: Project, install: Callable[[Any], None]) -> None:
        rows = indexed(project)
        install(project.model())
        call_command("vector_reindex", "shop.Article", database="scratch", verbosity=0)
        (state,) = engine_for(connections["scratch"]).index_states(project.model())
        assert (state.name, state.method, state.state) == ("article_disk", "diskann", "valid")
        with forced("scratch"):
            assert nearest(rows, "embedding", VECTORS[4], k=1)[0].pk == 5

    def test_beside_an_index_of_pgvector(self, project: Project) -> None:
        project.run(
            migrations.AddIndex(
                "article", VectorIndex(fields=["embedding"], name="article_vec", metric="cosine")
            )
        )
        rows = indexed(project)
        with forced("scratch"):
            for query in QUERIES[:3]:
                found = [row.distance for row in nearest(rows, "embedding", query, k=20)]
                assert found == sorted(found)
