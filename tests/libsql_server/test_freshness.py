"""FreshVector and ChangeVectorDimensions on a server, which keeps no comments of what is made."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import ProgrammingError, migrations
from django.db.models import F

from dorm_vector import ChangeVectorDimensions, FreshVector, VectorIndex, models, nearest
from tests.support.libsql_server import ALIAS
from tests.support.migrating import Project

OLD = [1.0, 2.0, 3.0]


@pytest.fixture
def project(database: Any) -> Project:
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=50)),
        ("embedding", models.VectorField(3, null=True)),
        ("half", models.HalfVectorField(3, null=True)),
    ]
    options = {
        "indexes": [VectorIndex(fields=["embedding"], name="article_vec", metric="l2")],
        "constraints": [FreshVector(field="embedding", of=["title"], name="article_fresh")],
    }
    project = Project(migrations.CreateModel("Article", fields, options), alias=ALIAS)
    project.rows().create(title="a", embedding=OLD)
    return project


def is_fresh(project: Project, field: str = "title") -> bool:
    rows = project.rows()
    rows.update(embedding=OLD)
    found = [row.embedding for row in nearest(rows, "embedding", OLD, k=1)]
    rows.update(**{field: "changed"})
    changed = rows.get().embedding
    rows.update(**{field: "a"})
    return (found, changed) == ([OLD], None)


def names(project: Project) -> list[str]:
    return [name for name in project.triggers() if not name.startswith("article_vec")]


def test_writes_and_migrations(project: Project) -> None:
    assert is_fresh(project)
    article = project.rows().get()
    article.title, article.embedding = "b", OLD
    project.rows().update(embedding=OLD)
    article.save()
    assert project.rows().get().embedding is None
    longer = migrations.AlterField("article", "title", models.CharField(max_length=90))
    project.run(longer)
    assert is_fresh(project)
    project.run(migrations.RenameField("article", "title", "headline"))
    assert is_fresh(project, "headline")
    project.run(migrations.AlterField("article", "headline", models.TextField()))
    assert is_fresh(project, "headline")
    project.run(migrations.RenameModel("Article", "Paper"))
    assert names(project) == ["article_fresh"]
    project.run(migrations.RemoveConstraint("paper", "article_fresh"))
    assert names(project) == []


def test_names_of_others(project: Project) -> None:
    project.execute(
        "CREATE TRIGGER other AFTER UPDATE ON shop_article BEGIN "
        "UPDATE shop_article SET title = 'x' WHERE id = 0; END"
    )
    addition = migrations.AddConstraint(
        "article", FreshVector(field="half", of=["title"], name="other")
    )
    with pytest.raises(
        ProgrammingError,
        match="but the database 'server' has a trigger of that name that dorm_vector did not make",
    ):
        project.run(addition)
    assert names(project) == ["article_fresh", "other"]


@pytest.mark.parametrize("existing", ["null", "truncate"])
def test_dimensions(project: Project, existing: str) -> None:
    project.rows().update(half=F("embedding"))
    assert project.rows().get().half == OLD
    field = models.HalfVectorField(2, null=True)
    operation = ChangeVectorDimensions("article", "embedding", field, existing=existing)
    project.run(operation)
    assert project.rows().get().embedding == (None if existing == "null" else OLD[:2])
    project.undo(operation)
    assert project.rows().get().embedding is None
    assert is_fresh(project)
