"""``embed()`` on a model with FreshVector: which makes NULL what has changed."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import migrations

from dorm_vector import FreshVector, embed, models, nearest
from dorm_vector.embeddings.rows import Rows
from tests.support.embedding import vector_of
from tests.support.schema import Schema


@pytest.fixture(params=list(settings.ENGINES.items()), ids=list(settings.ENGINES.values()))
def table(request: pytest.FixtureRequest, open_database: Any, tmp_path: Path) -> Schema:
    alias, engine = request.param
    if engine == "postgresql":
        connection = request.getfixturevalue("scratch")()
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
    else:
        open_database(alias, NAME=str(tmp_path / "db"))
    schema = Schema("scratch")
    schema.run(migrations.AddField("thing", "text", models.TextField(default="")))
    constraint = FreshVector(field="embedding", of=["text"], name="thing_fresh")
    schema.run(migrations.AddConstraint("thing", constraint))
    return schema


@pytest.fixture
def rows(table: Schema) -> Any:
    rows = table.model.objects.using("scratch")
    rows.bulk_create(table.model(text=f"text {number}") for number in range(10))
    return rows


def by_text(found: list[Any]) -> list[list[float]]:
    return [vector_of(row.text) for row in found]


def assert_fresh(rows: Any) -> None:
    for row in rows.all():
        assert row.embedding in (None, vector_of(row.text))


def test_the_sources_are_those_of_the_constraint(rows: Any) -> None:
    def slow(found: list[Any]) -> list[list[float]]:
        rows.update(category=1)  # which is none
        return by_text(found)

    report = embed(rows, "embedding", slow)
    assert (report.embedded, report.skipped) == (10, 0)
    assert_fresh(rows)


def test_edits_before_while_and_after(rows: Any) -> None:
    embed(rows, "embedding", by_text, limit=5)
    first, *others = rows.order_by("pk")

    def edits(found: list[Any]) -> list[list[float]]:
        if len(found) > 1:
            rows.filter(pk=first.pk).update(text="edited, behind the walk")
            rows.filter(pk=others[-1].pk).update(text="edited, while it is embedded")
        return by_text(found)

    report = embed(rows, "embedding", edits)
    assert (report.embedded, report.skipped) == (6, 1)
    assert rows.filter(embedding=None).count() == 0
    assert_fresh(rows)
    row = rows.get(pk=first.pk)
    row.text = "saved with the old vector"
    row.save(using="scratch")
    found = nearest(rows, "embedding", vector_of(row.text))
    assert row.pk not in set(found.values_list("pk", flat=True))
    assert embed(rows, "embedding", by_text).embedded == 1
    assert_fresh(rows)


def test_all_rows(rows: Any) -> None:
    embed(rows, "embedding", lambda found: [[1, 2, 3] for _ in found])
    row = rows.order_by("pk")[3]
    texts: list[list[str]] = []

    def edits(found: list[Any]) -> list[list[float]]:
        texts.append([each.text for each in found])
        if len(texts) == 1:
            rows.filter(pk=row.pk).update(text="edited")
        return by_text(found)

    report = embed(rows, "embedding", edits, all=True)
    assert (report.embedded, report.skipped, report.calls) == (10, 1, 2)
    assert texts[1] == ["edited"]
    assert rows.filter(embedding=None).count() == 0
    assert_fresh(rows)


def test_the_same_vector_for_another_text(rows: Any) -> None:
    """The trigger lets a statement pass that changes the vector alone."""
    constant = [[7.0, 8.0, 9.0]]
    embed(rows, "embedding", lambda found: constant * len(found))
    rows.update(text="one for all")
    assert rows.filter(embedding=None).count() == 10
    assert embed(rows, "embedding", lambda found: constant * len(found)).embedded == 10
    assert rows.filter(embedding=constant[0]).count() == 10


@pytest.mark.parametrize("key", ["uuid", "text", "composite"])
def test_keys_of_every_kind(table: Schema, key: str) -> None:
    keys: dict[str, list[tuple[str, Any]]] = {
        "uuid": [("id", models.UUIDField(primary_key=True, default=uuid.uuid4))],
        "text": [("id", models.CharField(max_length=50, primary_key=True))],
        "composite": [
            ("pk", models.CompositePrimaryKey("tenant", "number")),
            ("tenant", models.IntegerField()),
            ("number", models.IntegerField()),
        ],
    }
    others = [("text", models.TextField()), ("embedding", models.VectorField(3, null=True))]
    table.run(migrations.CreateModel("Keyed", [*keys[key], *others]))
    model = table.state.apps.get_model("shop", "Keyed")
    rows = model.objects.using("scratch")
    values: dict[str, Any] = {
        "uuid": lambda number: {},
        "text": lambda number: {"id": f"ä'{number}%"},
        "composite": lambda number: {"tenant": number % 3, "number": number},
    }
    rows.bulk_create(model(text=f"text {n}", **values[key](n)) for n in range(25))
    done: list[int] = []

    def edits(found: list[Any]) -> list[list[float]]:
        if not done:
            rows.filter(text=found[1].text).update(text="edited")
        done.append(len(found))
        return by_text(found)

    assert Rows(rows, "embedding").count() == 25
    report = embed(rows, "embedding", edits, batch_size=4)
    assert (report.embedded, report.skipped, report.calls) == (25, 1, 8)
    assert rows.filter(embedding=None).count() == 0
    assert_fresh(rows)
