"""Bounds within which vec0 picks rows: of large tables, and of many rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import migrations
from django.test.utils import CaptureQueriesContext

from dorm_vector import VectorIndex, models, nearest
from dorm_vector.engines.sqlite import picking, search
from dorm_vector.engines.sqlite.picking import PLACES, rank, saves
from tests.support.schema import Schema

RANDOM = np.random.default_rng(31)
DIMENSIONS = 40


class TestRank:
    @pytest.mark.parametrize("rows", [20_000, 100_000, 1_000_000])
    @pytest.mark.parametrize("wanted", [40, 210, 1000, 4000])
    def test_enough_rows_are_within(self, wanted: int, rows: int) -> None:
        """Of 2,000 samples, hardly one misses."""
        hits = RANDOM.binomial(PLACES, wanted / rows, 2000)
        assert np.count_nonzero(hits >= rank(wanted, rows)) <= 6

    def test_not_many_more(self) -> None:
        """A tenth of all rows, where one in a hundred is wanted."""
        assert rank(1000, 100_000) / PLACES < 0.1

    def test_what_it_saves(self) -> None:
        assert saves(210, 100_000)
        assert saves(4096, 100_000)
        assert not saves(40, 100_000)
        assert not saves(210, 10_000)
        assert not saves(400, 0)


class Table:
    """A table with an index, under names that have to be quoted."""

    def __init__(self, index: VectorIndex) -> None:
        self.schema = Schema("scratch")
        field = models.VectorField(DIMENSIONS, null=True, db_column="a 'vector' {a}")
        self.schema.run(migrations.AddField("thing", "wide", field))
        self.schema.run(migrations.AddIndex("thing", index))
        self.rows = self.schema.model.objects.using("scratch")

    def fill(self, vectors: Any, keys: Any) -> None:
        self.vectors, self.keys = np.asarray(vectors, "f4"), keys
        model = self.schema.model
        self.rows.bulk_create(
            [model(pk=key, wide=vector) for key, vector in zip(keys, self.vectors, strict=True)]
        )

    def found(self, query: Any, k: int) -> tuple[list[int], list[str]]:
        """The keys of a search, and its statements."""
        with CaptureQueriesContext(self.schema.connection) as sent:
            found = list(nearest(self.rows, "wide", query, k=k).values_list("pk", flat=True))
        return found, [query["sql"] for query in sent]

    def expected(self, query: Any, metric: str) -> list[int]:
        vectors, query = self.vectors.astype("f8"), np.asarray(query, "f8")
        if metric == "cosine":
            with np.errstate(invalid="ignore"):
                norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
                distances = 1 - vectors @ query / norms
        else:
            distances = np.linalg.norm(vectors - query, ord={"l2": 2, "l1": 1}[metric], axis=1)
        order = np.argsort(distances, kind="stable")
        return [self.keys[place] for place in order if not np.isnan(distances[place])]


def index(**options: Any) -> VectorIndex:
    return VectorIndex(
        **{"fields": ["wide"], "name": "an 'index' {i}", "metric": "cosine", **options}
    )


KEYS = sorted(RANDOM.choice(10**12, 3000, replace=False).tolist())


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """vec0 searches, as without numpy, and tables that are small enough for tests get bounds."""
    monkeypatch.setattr(search, "aggregates", dict)
    monkeypatch.setattr(picking, "LEAST_SAVED", 0)


@pytest.fixture
def database(open_database: Any, tmp_path: Path) -> Any:
    options = {"init_command": "PRAGMA synchronous = OFF"}
    return open_database("default", NAME=str(tmp_path / "db"), OPTIONS=options)


def is_bounded(statement: str) -> bool:
    return "AND distance <= " in statement


@pytest.mark.usefixtures("always")
class TestSearches:
    @pytest.mark.parametrize(
        "options",
        [{}, {"precision": "full"}, {"metric": "l2"}, {"metric": "l1"}],
        ids=["int8", "full", "l2", "l1"],
    )
    def test_the_same_rows(self, database: Any, options: dict[str, Any]) -> None:
        table = Table(index(**options))
        table.fill(RANDOM.normal(size=(3000, DIMENSIONS)), KEYS)
        for query in table.vectors[:5]:
            found, sent = table.found(query, 140)
            assert is_bounded(sent[0])
            assert found == table.expected(query, options.get("metric", "cosine"))[:140]

    @pytest.mark.parametrize("options", [{"precision": "bit"}, {"prefix": 24}])
    def test_candidates_of_coarse_indexes(
        self, database: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
    ) -> None:
        """They are those that vec0 picks without a bound, where it is free to choose."""
        table = Table(index(**options))
        table.fill(RANDOM.normal(size=(3000, DIMENSIONS)), KEYS)
        bounded = [table.found(query, 10) for query in table.vectors[:5]]
        assert all(is_bounded(sent[0]) for _, sent in bounded)
        monkeypatch.setattr(picking, "LEAST_SAVED", 10**12)
        free = [table.found(query, 10) for query in table.vectors[:5]]
        assert not any(is_bounded(sent[0]) for _, sent in free)
        assert [found for found, _ in bounded] == [found for found, _ in free]

    @pytest.mark.parametrize("precision", [None, "full"])
    def test_null_zero_and_equal_vectors(self, database: Any, precision: str | None) -> None:
        table = Table(index(precision=precision))
        vectors = RANDOM.normal(size=(3000, DIMENSIONS))
        vectors[::3] = 0
        vectors[1::3] = vectors[1]
        table.fill(vectors, KEYS)
        table.rows.bulk_create([table.schema.model(pk=key) for key in range(-2000, 0)])
        found, _ = table.found(vectors[1], 140)
        assert found == KEYS[1::3][:140]

    def test_most_rows_are_gone(self, database: Any) -> None:
        table = Table(index())
        table.fill(RANDOM.normal(size=(3000, DIMENSIONS)), KEYS)
        table.rows.filter(pk__gt=KEYS[200]).delete()
        table.vectors, table.keys = table.vectors[:201], KEYS[:201]
        found, _ = table.found(table.vectors[7], 100)
        assert found == table.expected(table.vectors[7], "cosine")[:100]
        table.rows.all().delete()
        assert table.found(table.vectors[7], 100)[0] == []

    def test_rows_in_clusters_one_after_the_other(self, database: Any) -> None:
        """Keys tell how near rows are, so that hardly any place is near."""
        table = Table(index())
        centers = np.repeat(RANDOM.normal(size=(300, DIMENSIONS)), 10, axis=0)
        table.fill(centers + 0.2 * RANDOM.normal(size=centers.shape), KEYS)
        for query in table.vectors[:3]:
            assert table.found(query, 140)[0] == table.expected(query, "cosine")[:140]

    def test_pages(self, database: Any) -> None:
        table = Table(index(precision="bit"))
        table.fill(RANDOM.normal(size=(3000, DIMENSIONS)), KEYS)
        query = table.vectors[3]
        rows = nearest(table.rows, "wide", query).values_list("pk", flat=True)
        whole = list(rows[:100])
        assert [key for start in range(0, 100, 20) for key in rows[start : start + 20]] == whole

    def test_no_bound_without_a_database(self, database: Any) -> None:
        """The text of a query is written without asking it."""
        table = Table(index())
        table.fill(RANDOM.normal(size=(3000, DIMENSIONS)), KEYS)
        text = str(nearest(table.rows, "wide", table.vectors[3], k=140).query)
        assert "AND k = 305" in text
        assert not is_bounded(text)
