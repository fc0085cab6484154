"""What SQLite alone has: programs without sqlite-vec, REPLACE, and triggers that fire triggers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.db import migrations

from dorm_vector import FreshVector, TextIndex, VectorIndex, matching, models, nearest
from tests.support.migrating import Project

OLD = [1.0, 2.0, 3.0]


def creation(*indexes: Any) -> Any:
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=50, unique=True)),
        ("embedding", models.VectorField(3, null=True)),
    ]
    constraint = FreshVector(field="embedding", of=["title"], name="article_fresh")
    options = {"constraints": [constraint], "indexes": list(indexes)}
    return migrations.CreateModel("Article", fields, options)


@pytest.fixture(params=["default", "libsql"])
def database(request: pytest.FixtureRequest, open_database: Any, tmp_path: Path) -> Any:
    return open_database(request.param, NAME=str(tmp_path / "db"))


def test_programs_without_sqlite_vec(open_database: Any, tmp_path: Path) -> None:
    open_database("default", NAME=str(tmp_path / "db"))
    project = Project(creation())
    project.rows().create(title="a", embedding=OLD)
    project.connection.close()
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    other.execute("UPDATE shop_article SET title = 'a'")
    assert project.rows().get().embedding == OLD
    other.execute("PRAGMA trusted_schema = OFF")
    other.execute("UPDATE shop_article SET title = 'b'")
    assert project.rows().get().embedding is None
    other.close()


@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_triggers_that_fire_triggers(database: Any, recursive: str) -> None:
    project = Project(
        creation(
            VectorIndex(fields=["embedding"], name="article_vec", metric="l2"),
            TextIndex(fields=["title"], name="article_txt"),
        )
    )
    project.execute(f"PRAGMA recursive_triggers = {recursive}")
    articles = [project.rows().create(title=title, embedding=OLD) for title in ("one", "two")]
    articles[0].title = "three"
    articles[0].save()
    rows = project.rows()
    assert list(rows.order_by("pk").values_list("embedding", flat=True)) == [None, OLD]
    assert list(nearest(rows, "embedding", OLD, k=5)) == [articles[1]]
    for word, found in (("one", []), ("three", articles[:1]), ("two", articles[1:])):
        assert list(matching(rows, word)) == found


@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_replace_makes_a_new_row(database: Any, recursive: str) -> None:
    """With the vector that it comes with: the old row is gone before a trigger could compare."""
    project = Project(creation())
    project.execute(f"PRAGMA recursive_triggers = {recursive}")
    row = project.rows().create(title="a", embedding=OLD)
    project.execute(
        "INSERT OR REPLACE INTO shop_article SELECT id, 'b', embedding FROM shop_article"
    )
    assert project.rows().get(pk=row.pk).embedding == OLD
    project.execute("UPDATE OR REPLACE shop_article SET title = 'c'")
    assert project.rows().get(pk=row.pk).embedding is None


def test_a_row_that_replaces_another(database: Any) -> None:
    """By UPDATE OR REPLACE, of which the other one is the victim."""
    project = Project(creation())
    first, second = (project.rows().create(title=title, embedding=OLD) for title in "ab")
    project.execute("UPDATE OR REPLACE shop_article SET title = 'a' WHERE id = %s", second.pk)
    assert list(project.rows().values_list("pk", "embedding")) == [(second.pk, None)]
    assert not project.rows().filter(pk=first.pk).exists()
