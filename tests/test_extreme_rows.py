"""Indexed rows whose squares leave the range of float32: a search finds them as it finds others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import migrations

from dorm_vector import nearest
from tests.support.oracle import DISTANCES
from tests.support.side_tables import Table, index, uses_index

RANDOM = np.random.default_rng(12)
# Between them a cosine distance is less exact in float32; see "Where the databases differ".
LENGTHS = [1e-44, 1e-38, 1e-30, 1e-25, 1.0, 1.0, 1.0, 1e17, 1e19, 1e25, 1e37]
QUERIES = [[1.0, 2.0, 2.0], [-1e3, 0.0, 1.0], [1e-9, 1e-10, -1e-9], [1e-30, 2e-30, 0], [1e30, 0, 1]]
queries = pytest.mark.parametrize("query", QUERIES, ids=str)
precisions = pytest.mark.parametrize("precision", ["int8", "full"])


@pytest.fixture
def database(open_database: Any, tmp_path: Path) -> Any:
    options = {"init_command": "PRAGMA synchronous = OFF", "timeout": 30}
    return open_database("default", NAME=str(tmp_path / "db"), OPTIONS=options)


@pytest.fixture
def table(database: Any, precision: str) -> Table:
    """Filled before the index is made, and after it; rows that change, too."""
    table = Table()
    directions = RANDOM.normal(1.0, 1.0, size=(150, 3))
    vectors = directions * RANDOM.choice(LENGTHS, size=(150, 1))
    vectors = np.vstack([vectors, [[3e38] * 3, [1e-45, 0, 0], [-3e38, 0, 1e-45], [0, 0, 0]]])
    before = table.fill(vectors[:70].tolist())
    table.run(migrations.AddIndex("thing", index("cosine", precision=precision)))
    after = table.fill([*vectors[70:].tolist(), None])
    for row in (*before[::10], *after[:-5:10]):
        row.embedding = (np.asarray(row.embedding) * 1e-25 * RANDOM.choice([1, 1e15])).tolist()
        row.save(using="scratch")
    return table


def expected(rows: Any, query: Any) -> dict[int, float]:
    """The distance of each row that has one, the nearest first."""
    vectors = rows.exclude(embedding=None).values_list("pk", "embedding")
    measured = {pk: DISTANCES["cosine"](vector, query) for pk, vector in vectors if any(vector)}
    return dict(sorted(measured.items(), key=lambda item: item[1]))


def check(found: Any, measured: dict[int, float], part: slice = slice(None)) -> None:
    distances = [row.distance for row in found]
    assert distances == pytest.approx(list(measured.values())[part], abs=1e-5)
    assert distances == pytest.approx([measured[row.pk] for row in found], abs=1e-5)
    assert len({row.pk for row in found}) == len(distances)


@precisions
@queries
class TestSearches:
    @pytest.mark.parametrize("part", [(0, 3), (0, 10), (0, 60), (10, 20), (45, 70), (0, 1000)])
    def test_pages(self, table: Table, query: Any, part: tuple[int, int]) -> None:
        measured = expected(table.rows, query)
        check(nearest(table.rows, "embedding", query)[slice(*part)], measured, slice(*part))

    def test_filters(self, table: Table, query: Any) -> None:
        rows = table.rows.filter(pk__gt=50)
        check(nearest(rows, "embedding", query, k=20), expected(rows, query), slice(20))

    @pytest.mark.parametrize("k", [5, 200])
    def test_max_distance(self, table: Table, query: Any, k: int) -> None:
        near = {pk: d for pk, d in expected(table.rows, query).items() if d <= 0.3}
        check(nearest(table.rows, "embedding", query, max_distance=0.3)[:k], near, slice(k))


@precisions
def test_they_are_in_the_index(table: Table) -> None:
    held = {pk for (pk,) in table.query('SELECT rowid FROM "i"')}
    assert held == set(expected(table.rows, [1, 0, 0]))
    assert uses_index(nearest(table.rows, "embedding", [1, 2, 2], k=10))


@precisions
@pytest.mark.parametrize("vector", [[1e-40, 0, 0], [3e38] * 3, [0, 0, 0], None])
def test_a_row_that_changes_for_good(table: Table, vector: Any) -> None:
    table.rows.update(embedding=vector)
    has_direction = vector is not None and any(vector)
    assert len(table.query('SELECT rowid FROM "i"')) == has_direction * table.rows.count()
    table.rows.update(embedding=[1, 2, 3])
    assert len(table.query('SELECT rowid FROM "i"')) == table.rows.count()
    table.rows.all().delete()
    assert table.query('SELECT rowid FROM "i"') == []


@precisions
def test_a_field_named_as_what_vec_each_returns(database: Any, precision: str) -> None:
    for name in ("vector", "value"):
        table = Table()
        table.run(migrations.RenameField("thing", "embedding", name))
        table.fill([[1e-30, 1e-30, 0], [1, 2, 3], [1e30, 0, 1]])
        made = index("cosine", precision=precision, fields=[name])
        table.run(migrations.AddIndex("thing", made))
        table.fill([[1e-35, 0, 1e-36], None])
        assert len(table.query('SELECT rowid FROM "i"')) == 4
        table.run(migrations.DeleteModel("thing"))
