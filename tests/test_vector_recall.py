"""``manage.py vector_recall``: what it measures agrees with numpy."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from tests.testapp.models import Indexed, Item, Portable

DIMENSIONS = 8


def recall(field: str = "testapp.Portable.embedding", **options: Any) -> Any:
    output, error = StringIO(), None
    try:
        call_command("vector_recall", field, json=True, stdout=output, **options)
    except CommandError as caught:
        error = str(caught)
    return json.loads(output.getvalue() or "null"), error


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(1200, DIMENSIONS)).astype("f4")


@pytest.fixture
def rows(alias: str, vectors: np.ndarray) -> Any:
    rows = Portable.objects.using(alias)
    rows.bulk_create(
        Portable(pk=number + 1, category=number % 10, embedding=vector)
        for number, vector in enumerate(vectors)
    )
    rows.create(pk=5000, category=0, embedding=None)
    if connections[alias].vendor == "postgresql":
        with connections[alias].cursor() as cursor:
            # A vacuum would change the index between two searches.
            cursor.execute("LOCK testapp_portable IN SHARE UPDATE EXCLUSIVE MODE")
            cursor.execute("ANALYZE testapp_portable; SET LOCAL enable_seqscan = off")
    return rows


def exact(vectors: np.ndarray, key: int, k: int, matching: Any) -> set[int]:
    """The nearest rows of a row by the cosine, itself left out, by numpy."""
    units = vectors.astype("f8")
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    distances = 1 - units @ units[key - 1]
    distances[key - 1] = np.inf
    distances[~matching] = np.inf
    return {int(number) + 1 for number in np.argsort(distances)[:k]}


class TestMeasured:
    @pytest.mark.parametrize("category", [None, 3])
    def test_it_agrees_with_numpy(
        self, rows: Any, vectors: np.ndarray, category: int | None
    ) -> None:
        from dorm_vector import nearest

        filters = [] if category is None else [f"category={category}"]
        engine = connections[rows.db].vendor
        if filters and engine == "sqlite":
            _, error = recall(database=rows.db, sample=20, filter=filters)
            assert error == (
                "No index serves these searches. A filter, a join or distinct() makes the search "
                "exact."
            )
        else:
            found, _ = recall(database=rows.db, sample=20, target=0.5, filter=filters)
            assert (found["index"], found["metric"]) == ("portable_embedding", "cosine")
            assert len(set(found["keys"])) == 20
            numbers = np.arange(len(vectors))
            matching = numbers % 10 == category if filters else numbers >= 0
            searched = rows if category is None else rows.filter(category=category)
            for trial in found["trials"]:
                assert len(trial["recalls"]) == 20
                assert trial["recall"] == pytest.approx(np.mean(trial["recalls"]))
                assert trial["worst"] == min(trial["recalls"])
                for key, measured in zip(found["keys"], trial["recalls"], strict=True):
                    row = rows.get(pk=key)
                    search = nearest(searched, "embedding", row, k=10, **trial["settings"])
                    mine = {each.pk for each in search}
                    share = len(mine & exact(vectors, key, 10, matching)) / 10
                    assert measured == pytest.approx(share, abs=0.005)
            assert set(found["exact"]["recalls"]) == {1}

    def test_the_smallest_is_named(self, rows: Any) -> None:
        found, error = recall(database=rows.db, sample=10, target=0.0)
        assert found["smallest"] == found["trials"][0]["settings"]
        assert error is None
        output = StringIO()
        call_command(
            "vector_recall", "testapp.Portable.embedding", database=rows.db, sample=10, target=0.0,
            stdout=output,
        )  # fmt: skip
        lines = output.getvalue().splitlines()
        assert lines[0] == (
            "testapp.Portable.embedding: portable_embedding (cosine), 10 searches for 10 rows each"
        )
        assert lines[2].split()[:3] == ["exact", "1.000", "1.00"]
        assert "reach" in lines[-1]

    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_none_reaches_the_target(self, db: None, alias: str, vectors: np.ndarray) -> None:
        """An index of ten lists, of which one is looked at by default."""
        rows = Indexed.objects.using(alias)
        rows.bulk_create(Indexed(category=1, embedding=vector) for vector in vectors)
        with connections[alias].cursor() as cursor:
            cursor.execute("REINDEX INDEX indexed_ip; ANALYZE testapp_indexed")
            cursor.execute("SET LOCAL enable_seqscan = off")
        found, error = recall(
            "testapp.Indexed.embedding", database=alias, sample=10, metric="ip", target=0.9
        )
        assert [trial["settings"] for trial in found["trials"]] == [
            {}, {"probes": 2}, {"probes": 4}, {"probes": 8}, {"recall": "high"},
        ]  # fmt: skip
        *recalls, _ = [trial["recall"] for trial in found["trials"]]
        assert recalls == sorted(recalls)
        assert recalls[0] < 0.9 < recalls[-1]
        assert found["smallest"]["probes"] > 1
        assert error is None
        _, error = recall(
            "testapp.Indexed.embedding", database=alias, sample=10, metric="ip", target=1.0
        )
        assert error in (None, "No setting reaches a recall of 1.")


class TestArguments:
    @pytest.mark.parametrize(
        ("field", "options", "said"),
        [
            ("testapp.Item", {}, "There is no model for 'testapp.Item': name fields as app.Model."),
            ("testapp.Item.x", {}, "testapp.Item has no field 'x'."),
            (
                "testapp.Item.name",
                {},
                "testapp.Item.name holds no vectors; the vector fields are: embedding, other.",
            ),
            (
                "testapp.Item.embedding",
                {"filter": ["x"]},
                "--filter takes name=value, not 'x'.",
            ),
            *(
                (
                    "testapp.Item.embedding",
                    {"filter": [f"id__range={value}"]},
                    "--filter takes two values for id__range, the first and the last: 1,9.",
                )
                for value in ("1", "", "1,2,3")
            ),
            (
                "testapp.Item.embedding",
                {"filter": ["other__isnull=maybe"]},
                "--filter takes true or false for other__isnull, not 'maybe'.",
            ),
            ("testapp.Item.embedding", {"filter": ["x=1"]}, "Cannot resolve keyword 'x' into"),
            ("testapp.Item.embedding", {"filter": ["category=a"]}, "Field 'category' expected a"),
            ("testapp.Item.embedding", {"metric": "x"}, "nearest() has no metric 'x'; use one of "),
            ("testapp.Item.embedding", {"database": "x"}, "There is no database 'x' in the setti"),
            (
                "testapp.Item.embedding",
                {},
                "No index serves these searches. No vector index is declared that serves the ",
            ),
        ],
    )
    def test_bad_ones(self, db: None, field: str, options: Any, said: str) -> None:
        Item.objects.create(name="a", embedding=[1, 2, 3])
        found, error = recall(field, **options)
        assert found is None
        assert error is not None
        assert error.startswith(said)

    def test_a_name_given_again(self, db: None) -> None:
        """All filters hold, and not the last one of a name alone."""
        for category in (1, 2):
            Portable.objects.create(category=category, embedding=[1] * DIMENSIONS)
        nothing = "There are no rows with a vector to search for."
        assert recall(filter=["category=1", "category=2"]) == (None, nothing)
        assert recall(filter=["category__range=3,4"]) == (None, nothing)
        assert recall(filter=["embedding__isnull=true"]) == (None, nothing)
        assert recall(filter=["category__range=1,2", "embedding__isnull=false"])[1] != nothing

    def test_no_rows(self, db: None) -> None:
        assert recall() == (None, "There are no rows with a vector to search for.")

    @pytest.mark.parametrize("option", ["--target=2", "--sample=0", "--k=1001", "--k=x"])
    def test_numbers(self, option: str) -> None:
        with pytest.raises(CommandError, match=r"argument --\w+: takes "):
            call_command("vector_recall", "testapp.Item.embedding", option)
