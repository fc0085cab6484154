"""``embed()``: which rows it reads, what it calls, and what it writes."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import FieldError, ValidationError
from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from dorm_vector import EmbedReport, embed, nearest
from tests.support.embedding import by_name, vector_of
from tests.testapp.models import (
    Arrays,
    Chunk,
    Document,
    Everything,
    Half,
    Halved,
    Item,
    ItemProxy,
    Numpy,
    Odd,
    SubItem,
)

Embedder = Callable[[list[Any]], Any]


def ones(rows: list[Any]) -> list[list[float]]:
    return [[1.0, 1.0, 1.0] for _ in rows]


@pytest.fixture
def items(alias: str) -> Any:
    rows = Item.objects.using(alias)
    rows.bulk_create(Item(name=f"text {number}", category=number) for number in range(10))
    return rows


def assert_fresh(rows: Any) -> None:
    for row in rows.all():
        assert row.embedding == vector_of(row.name)


class Calls:
    """An embedder that keeps the names it was called with, and does something meanwhile."""

    def __init__(self, *meanwhile: Callable[[], Any]) -> None:
        self.names: list[list[str]] = []
        self.meanwhile = list(meanwhile)

    def __call__(self, rows: list[Any]) -> list[list[float]]:
        self.names.append([row.name for row in rows])
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return by_name(rows)


class TestRows:
    def test_those_without_a_vector(self, items: Any) -> None:
        items.filter(category__in=[2, 5]).update(embedding=[9, 9, 9])
        calls = Calls()
        report = embed(items, "embedding", calls, batch_size=3)
        assert (report.embedded, report.errors, report.skipped, report.calls) == (8, {}, 0, 3)
        assert report.seconds > 0
        assert calls.names == [
            ["text 0", "text 1", "text 3"], ["text 4", "text 6", "text 7"], ["text 8", "text 9"],
        ]  # fmt: skip
        assert_fresh(items.exclude(category__in=[2, 5]))
        others = items.filter(category__in=[2, 5])
        assert [row.embedding for row in others] == [[9, 9, 9], [9, 9, 9]]
        assert embed(items, "embedding", calls).calls == 0

    def test_all_of_them(self, items: Any) -> None:
        items.update(embedding=[9, 9, 9])
        report = embed(items, "embedding", by_name, batch_size=4, all=True)
        assert (report.embedded, report.calls) == (10, 3)
        assert_fresh(items)

    def test_a_model_and_a_manager(self, db: None) -> None:
        Item.objects.create(name="one")
        for given in (Item, Item.objects, Item.objects.order_by("pk"), ItemProxy):
            Item.objects.update(embedding=None)
            assert embed(given, "embedding", by_name).embedded == 1  # type: ignore[arg-type]
            assert_fresh(Item.objects)

    def test_filters_and_limits(self, items: Any) -> None:
        report = embed(items.filter(category__gte=4), "embedding", by_name, limit=5, batch_size=2)
        assert (report.embedded, report.calls) == (5, 3)
        assert [row.category for row in items.exclude(embedding=None).order_by("pk")] == [
            4, 5, 6, 7, 8,
        ]  # fmt: skip
        assert embed(items, "embedding", by_name, limit=0).calls == 0

    def test_joins_that_multiply_rows(self, alias: str) -> None:
        documents = Document.objects.using(alias)
        for title in ("a", "b"):
            document = documents.create(title=title, embedding=[1, 2, 3])
            for _ in range(3):
                Chunk.objects.using(alias).create(document=document, embedding=[1, 2, 3])
        rows = documents.filter(chunks__embedding__isnull=False)
        report = embed(rows, "embedding", ones, all=True)
        assert (report.embedded, report.calls) == (2, 1)

    def test_related_rows_come_along(self, alias: str, django_assert_num_queries: Any) -> None:
        document = Document.objects.using(alias).create(title="of all", embedding=[1, 2, 3])
        chunks = Chunk.objects.using(alias)
        chunks.bulk_create(Chunk(document=document) for _ in range(3))

        def by_title(rows: list[Any]) -> list[list[float]]:
            with django_assert_num_queries(0, connection=connections[alias]):
                return [vector_of(row.document.title) for row in rows]

        embed(chunks.select_related("document"), "embedding", by_title)
        embed(chunks.prefetch_related("document"), "embedding", by_title, all=True)
        assert [row.embedding for row in chunks.all()] == [vector_of("of all")] * 3

    def test_deferred_fields(self, items: Any) -> None:
        assert embed(items.only("name"), "embedding", by_name).embedded == 10
        items.update(embedding=None)
        assert embed(items.defer("name"), "embedding", by_name).embedded == 10
        assert_fresh(items)

    def test_the_parent_has_the_vector(self, alias: str) -> None:
        rows = SubItem.objects.using(alias)
        for number in range(3):
            rows.create(name=f"text {number}", extra=[1, 2])
        done: list[Any] = []

        def edits(found: list[Any]) -> list[list[float]]:
            if not done:
                Item.objects.using(alias).filter(name="text 1").update(name="edited")
            done.append(found)
            return by_name(found)

        report = embed(rows, "embedding", edits)
        assert (report.embedded, report.skipped, report.calls) == (3, 1, 2)
        assert_fresh(rows)

    def test_the_child_has_it(self, alias: str) -> None:
        rows = SubItem.objects.using(alias)
        rows.create(name="text", extra=[1, 2])
        done: list[Any] = []

        def edits(found: list[Any]) -> list[list[float]]:
            if not done:
                Item.objects.using(alias).update(name="edited")
            done.append(found)
            return [vector_of(row.name)[:2] for row in found]

        report = embed(rows, "extra", edits, all=True)
        assert (report.embedded, report.skipped, report.calls) == (1, 1, 2)
        assert rows.get().extra == vector_of("edited")[:2]

    def test_odd_names(self, alias: str) -> None:
        rows = Odd.objects.using(alias)
        rows.create(name="text")
        assert embed(rows, "vector", by_name).embedded == 1
        assert rows.get().vector == vector_of("text")

    def test_other_kinds(self, alias: str) -> None:
        rows = Half.objects.using(alias)
        rows.create(b=[4, 5, 6])
        embed(rows, "a", lambda found: [row.b for row in found])
        assert rows.get().a == [4, 5, 6]
        numpy = Numpy.objects.using(alias)
        numpy.create()
        embed(numpy, "bits", lambda found: [np.array([True] * 10)] * len(found))
        assert numpy.get().bits.all()

    def test_fields_that_prepare_their_values(self, alias: str) -> None:
        rows = Halved.objects.using(alias)
        rows.create(vector=[2, 2, 2])
        embed(rows, "vector", lambda found: [[8, 8, 8]], all=True)
        assert rows.get().vector == [4, 4, 4]


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda rows: rows[:5], "remove the slice, and pass limit="),
            (lambda rows: rows.values("pk"), "remove values() and values_list()"),
            (lambda rows: rows.values_list("pk"), "remove values() and values_list()"),
            (lambda rows: rows.union(rows), "it cannot take a union, intersection or difference"),
            (lambda rows: rows.order_by("-category"), "remove the order"),
            (lambda rows: rows.order_by("pk").reverse(), "remove the order"),
            (lambda rows: nearest(rows, "other", [1, 2, 3]), "remove the order"),
            (lambda rows: rows.distinct("name"), "remove the names from distinct()"),
            (lambda rows: rows.select_for_update(), "remove select_for_update()"),
        ],
    )
    def test_querysets(self, change: Any, said: str) -> None:
        with pytest.raises(ValueError, match=r"^embed") as caught:
            embed(change(Item.objects.all()), "embedding", ones)
        assert str(caught.value).startswith(f"embed() goes through rows by their keys: {said}")

    @pytest.mark.parametrize(
        ("field", "error", "said"),
        [
            ("nothing", FieldError, "testapp.Item has no field 'nothing'."),
            ("chunks__embedding", FieldError, "testapp.Item has no field 'chunks__embedding'."),
            (
                "name",
                FieldError,
                "embed() fills vector fields, not the CharField testapp.Item.name",
            ),
        ],
    )
    def test_fields(self, field: str, error: Any, said: str) -> None:
        with pytest.raises(error) as caught:
            embed(Item, field, ones)
        assert str(caught.value).startswith(said)

    def test_fields_that_are_never_null(self) -> None:
        with pytest.raises(ValueError, match="is never NULL") as caught:
            embed(Document, "embedding", ones)
        assert str(caught.value) == (
            "testapp.Document.embedding is never NULL, so that no row waits for a vector: declare "
            "it with null=True, or embed all rows."
        )

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"batch_size": 0}, "embed() needs a batch_size of 1 or more, not 0."),
            ({"batch_size": 2.0}, "embed() needs a batch_size of 1 or more, not 2.0."),
            ({"limit": -1}, "embed() needs a limit of 0 or more, not -1."),
            ({"retries": True}, "embed() needs 0 or more retries, not True."),
            ({"backoff": float("nan")}, "embed() needs a backoff of 0 seconds or more, not nan."),
            ({"of": ["x"]}, "embed() takes names of other columns of testapp.Item as of=, not 'x'"),
            ({"of": "name"}, "embed() takes a list of field names as of=, not 'name'."),
        ],
    )
    def test_options(self, options: Any, said: str) -> None:
        with pytest.raises((ValueError, FieldError, TypeError)) as caught:
            embed(Item, "embedding", ones, **options)
        assert str(caught.value).startswith(said)

    def test_what_is_no_queryset_or_no_function(self) -> None:
        with pytest.raises(TypeError) as caught:
            embed([Item()], "embedding", ones)  # type: ignore[arg-type]
        assert str(caught.value).startswith("embed() takes a queryset, a manager or a model, not [")
        with pytest.raises(TypeError) as caught:
            embed(Item, "embedding", "ones")  # type: ignore[arg-type]
        assert str(caught.value) == ("embed() takes a function of a list of instances, not 'ones'.")


class TestReturned:
    @pytest.mark.parametrize(
        "returned",
        [
            tuple,
            np.array,
            lambda vectors: iter(vectors),
            lambda vectors: (iter(vector) for vector in vectors),
            lambda vectors: [str(vector) for vector in vectors],
            lambda vectors: map(np.float64, vectors),
        ],
    )
    def test_lists_of_every_kind(self, items: Any, returned: Any) -> None:
        embed(items, "embedding", lambda rows: returned(by_name(rows)), batch_size=4)
        assert_fresh(items)

    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            (lambda rows: ones(rows)[:2], "returned 2 vectors for 3 rows ({}): return as many."),
            (lambda rows: [], "returned 0 vectors for 3 rows ({}): return as many."),
            (lambda rows: iter(int, 1), "returned 4 or more vectors for 3 rows ({}): return as ma"),
            (lambda rows: None, "returned None for 3 rows ({}): return a list of as many vectors."),
            (lambda rows: "[1]", "returned '[1]' for 3 rows ({}): return a list of as many vector"),
            (lambda rows: np.float32(1), "returned 1.0 for 3 rows ({}): return a list of as many"),
            (lambda rows: {1: 2}, "returned {{1: 2}} for 3 rows ({}): return a list of as many "),
        ],
    )
    def test_no_list_of_as_many(self, items: Any, returned: Any, said: str) -> None:
        first = items.order_by("pk")[0].pk
        with pytest.raises(ValueError, match=r"^The embedder ") as caught:
            embed(items, "embedding", returned, batch_size=3)
        named = f"testapp.Item {first} to {first + 2}"
        assert str(caught.value).startswith(f"The embedder {said.format(named)}")
        assert items.filter(embedding=None).count() == 10

    @pytest.mark.parametrize(
        ("vector", "said", "code"),
        [
            ([1, 2], "Expected 3 dimensions, not 2.", "dimensions"),
            ([1, 2, float("nan")], "Component 2 is NaN.", "nan"),
            (1.5, "1.5 is not a vector.", "invalid"),
            ("", "'' is not a vector.", "invalid"),
        ],
    )
    def test_a_vector_that_is_refused(self, items: Any, vector: Any, said: str, code: str) -> None:
        key = items.get(category=5).pk

        def bad(rows: list[Any]) -> list[Any]:
            return [vector if row.pk == key else [1, 2, 3] for row in rows]

        with pytest.raises(ValidationError) as caught:
            embed(items, "embedding", bad, batch_size=4)
        assert caught.value.message.startswith(f"The vector for testapp.Item {key} is refused: ")
        assert caught.value.message.endswith(said)
        assert caught.value.code == code
        # Nothing of that batch, and all of the one before it.
        assert items.exclude(embedding=None).count() == 4

    def test_none(self, items: Any) -> None:
        key = items.get(category=5).pk
        report = embed(
            items, "embedding", lambda rows: [None if row.pk == key else [1, 2, 3] for row in rows]
        )
        assert (report.embedded, report.calls) == (9, 1)
        assert report.errors == {key: "The embedder returned None."}


class TestFailures:
    def test_tried_again(self, items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []
        monkeypatch.setattr(time, "sleep", pauses.append)
        errors = [ConnectionError("down"), TimeoutError("slow"), OSError("busy")]

        def flaky(rows: list[Any]) -> list[list[float]]:
            if errors:
                raise errors.pop()
            return by_name(rows)

        report = embed(items, "embedding", flaky, backoff=0.5)
        assert (report.embedded, report.failed, report.calls) == (10, 0, 4)
        assert pauses == [0.5, 1, 2]

    def test_rows_that_cannot_be_embedded(self, items: Any) -> None:
        bad = {items.get(category=number).pk: number for number in (3, 7)}

        def picky(rows: list[Any]) -> list[list[float]]:
            for row in rows:
                if row.pk in bad:
                    raise ValueError(f"no {bad[row.pk]}")
            return by_name(rows)

        report = embed(items, "embedding", picky, backoff=0, batch_size=8)
        assert report.errors == {key: f"ValueError: no {number}" for key, number in bad.items()}
        assert (report.embedded, report.failed) == (8, 2)
        assert set(items.filter(embedding=None).values_list("pk", flat=True)) == set(bad)
        assert_fresh(items.exclude(embedding=None))

    def test_a_generator_that_raises(self, items: Any) -> None:
        errors = [ConnectionError("cut off")]

        def streams(rows: list[Any]) -> Any:
            for row in rows:
                if row.category == 5 and errors:
                    raise errors.pop()
                yield vector_of(row.name)

        report = embed(items, "embedding", streams, backoff=0)
        assert (report.embedded, report.calls) == (10, 2)

    def test_all_fail(self, items: Any) -> None:
        def down(rows: list[Any]) -> Any:
            raise ConnectionError("down")

        report = embed(items, "embedding", down, backoff=0, retries=1, batch_size=8)
        assert (report.embedded, report.failed) == (0, 10)
        # Two of each batch, and one for each of its parts.
        assert report.calls == 2 + 14 + 2 + 2

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_what_ends_the_process(self, items: Any, error: Any) -> None:
        calls: list[int] = []

        def stopped(rows: list[Any]) -> Any:
            calls.append(len(rows))
            if len(calls) == 2:
                raise error
            return by_name(rows)

        with pytest.raises(error):
            embed(items, "embedding", stopped, batch_size=4)
        assert calls == [4, 4]
        assert items.exclude(embedding=None).count() == 4
        # Its claims are let go.
        assert embed(items, "embedding", by_name).embedded == 6


class TestChangedMeanwhile:
    def test_edits(self, items: Any) -> None:
        row = items.get(category=3)
        calls = Calls(lambda: items.filter(pk=row.pk).update(name="edited"))
        report = embed(items, "embedding", calls)
        assert (report.embedded, report.skipped, report.calls) == (10, 1, 2)
        assert calls.names[1:] == [["edited"]]
        assert_fresh(items)

    def test_edits_among_all_rows(self, items: Any) -> None:
        items.update(embedding=[9, 9, 9])
        row = items.get(category=3)
        calls = Calls(lambda: items.filter(pk=row.pk).update(name="edited"))
        report = embed(items, "embedding", calls, all=True)
        assert (report.embedded, report.skipped, report.calls) == (10, 1, 2)
        assert_fresh(items)

    def test_edited_each_time(self, items: Any) -> None:
        names = iter(range(100))
        calls = Calls(*[lambda: items.filter(category=3).update(name=f"edit {next(names)}")] * 100)
        report = embed(items, "embedding", calls)
        assert (report.embedded, report.skipped, report.calls) == (9, 10, 10)
        assert items.get(embedding=None).category == 3

    def test_deleted_and_embedded_by_others(self, items: Any) -> None:
        gone, done = items.get(category=3).pk, items.get(category=4).pk
        calls = Calls(
            lambda: (
                items.filter(pk=gone).delete(),
                items.filter(pk=done).update(embedding=[9, 9, 9]),
            )
        )
        report = embed(items, "embedding", calls)
        assert (report.embedded, report.skipped, report.calls) == (8, 2, 1)
        assert items.get(pk=done).embedding == [9, 9, 9]

    def test_other_columns(self, items: Any) -> None:
        """Which columns are sources is for the caller to say, and otherwise all of them are."""
        calls = Calls(lambda: items.update(category=F("category") + 1))
        assert embed(items, "embedding", calls, of=["name"]).skipped == 0
        items.update(embedding=None)
        calls = Calls(lambda: items.update(category=F("category") + 1))
        assert embed(items, "embedding", calls).skipped == 10
        items.update(embedding=None)
        calls = Calls(lambda: items.update(other=[1, 2, 3]))
        assert embed(items, "embedding", calls).skipped == 0
        items.update(embedding=None)
        calls = Calls(lambda: items.update(other=[3, 2, 1]))
        assert embed(items, "embedding", calls, of=["other"]).skipped == 10

    def test_rows_that_come_to_want_one(self, items: Any) -> None:
        embed(items.filter(category=0), "embedding", by_name)
        calls = Calls(
            lambda: items.filter(category=0).update(name="edited", embedding=None),
            lambda: items.create(name="new"),
        )
        report = embed(items, "embedding", calls, batch_size=9)
        assert (report.embedded, report.calls) == (11, 3)
        assert_fresh(items)

    def test_what_the_embedder_does_to_instances(self, items: Any) -> None:
        def strips(rows: list[Any]) -> list[list[float]]:
            vectors = by_name(rows)
            for row in rows:
                row.name, row.embedding = row.name.upper(), [1, 2, 3]
            rows.clear()
            return vectors

        assert embed(items, "embedding", strips).embedded == 10
        assert_fresh(items)


MOMENT = timezone.make_aware(datetime.datetime(2024, 2, 29, 12, 0, 0, 1))
#: Values of which the second differs as little as may be.
CHANGES = {
    "integer": (1, 2),
    "number": (decimal.Decimal("0.1"), decimal.Decimal("0.10000001")),
    "real": (0.1 + 0.2, 0.3),
    "flag": (False, None),
    "char": ("a", "A"),
    "text": ("", None),
    "date": (datetime.date(2024, 2, 28), datetime.date(2024, 2, 29)),
    "moment": (MOMENT, MOMENT + datetime.timedelta(microseconds=1)),
    "time": (datetime.time(1), datetime.time(1, 0, 0, 1)),
    "duration": (datetime.timedelta(1), datetime.timedelta(1, 0, 1)),
    "key": (uuid.UUID(int=1), uuid.UUID(int=2)),
    "binary": (b"\0a", b"\0b"),
    "json": ({"a": [1, None]}, {"a": [1, 0]}),
    "rich": ("1", 1),
    "address": ("::1", "::2"),
    "half": ([1, 2, 3], [1, 2, 4]),
}


class TestContents:
    """Rows are compared by what the database has, whatever a field makes of it."""

    @pytest.mark.parametrize("field", [name for name in CHANGES if name != "half"])
    def test_every_type(self, alias: str, field: str) -> None:
        self.check(alias, field, None)

    def test_vectors_as_sources(self, alias: str) -> None:
        self.check(alias, "half", ["half"])

    def check(self, alias: str, field: str, of: Any) -> None:
        before, after = CHANGES[field]
        rows = Everything.objects.using(alias)
        rows.create(**{field: before})
        done: list[Any] = []

        def edits(found: list[Any]) -> list[list[float]]:
            if not done:
                rows.update(**{field: after})
            done.append(found)
            return ones(found)

        report = embed(rows, "vector", edits, of=of)
        assert (report.embedded, report.skipped, report.calls) == (1, 1, 2)

    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_arrays(self, db: None, alias: str) -> None:
        rows = Arrays.objects.using(alias)
        rows.create(vectors=[[1, 2, 3]])
        report = embed(Everything.objects.using(alias), "vector", ones)
        assert report == EmbedReport(seconds=report.seconds)

    @pytest.mark.parametrize(
        ("stored", "column"),
        [("'2024-02-29T12:00:00'", "moment"), ("0.1 + 0.2", "number"), ("' {\"a\":1}'", "json")],
    )
    @pytest.mark.parametrize("alias", ["default", "libsql"])
    def test_what_others_have_written(self, db: None, alias: str, stored: str, column: str) -> None:
        """Django reads it, and would write it otherwise."""
        rows = Everything.objects.using(alias)
        key = rows.create().pk
        with connections[alias].cursor() as cursor:
            cursor.execute(f"UPDATE testapp_everything SET {column} = {stored}")
        report = embed(rows, "vector", ones)
        assert (report.embedded, report.skipped) == (1, 0)
        assert rows.get(pk=key).vector == [1, 1, 1]

    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_collations(self, db: None, alias: str) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE EXTENSION citext")
            cursor.execute('ALTER TABLE "Order of Things" ALTER "Select" TYPE citext')
        rows = Odd.objects.using(alias)
        rows.create(name="text")
        assert rows.filter(name="TEXT").exists()
        report = embed(rows, "vector", Calls(lambda: rows.update(name="TEXT")))
        assert (report.embedded, report.skipped) == (1, 1)
        assert rows.get().vector == vector_of("TEXT")

    @pytest.mark.parametrize("alias", ["postgresql"])
    def test_types_without_equality(self, db: None, alias: str) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("ALTER TABLE testapp_everything ALTER text TYPE json USING text::json")
        rows = Everything.objects.using(alias)
        key = rows.create().pk
        with connections[alias].cursor() as cursor:
            cursor.execute("UPDATE testapp_everything SET text = '{}'")
        assert embed(rows, "vector", ones).embedded == 1
        assert rows.defer("text").get(pk=key).vector == [1, 1, 1]


class TestAsync:
    @pytest.fixture
    def loops(self) -> list[Any]:
        return []

    @pytest.fixture
    def embedder(self, loops: list[Any]) -> Embedder:
        async def eventually(rows: list[Any]) -> list[list[float]]:
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return by_name(rows)

        return eventually

    def test_an_async_function(self, items: Any, embedder: Embedder, loops: list[Any]) -> None:
        report = embed(items, "embedding", embedder, batch_size=4)
        assert (report.embedded, report.calls) == (10, 3)
        assert_fresh(items)
        # One for all of them, in which a client keeps its connections.
        assert len(set(loops)) == 1
        assert loops[0].is_closed()

    def test_it_raises(self, items: Any) -> None:
        errors: list[Exception] = [ConnectionError("down")]

        class Flaky:
            async def __call__(self, rows: list[Any]) -> list[list[float]]:
                if errors:
                    raise errors.pop()
                return by_name(rows)

        report = embed(items, "embedding", Flaky(), backoff=0)
        assert (report.embedded, report.calls) == (10, 2)

    def test_from_a_view(self, items: Any, loops: list[Any], embedder: Embedder) -> None:
        """Its loop is that of the project's clients."""
        found: list[Any] = []

        def plain() -> None:
            from dorm_vector.embeddings.embedder import Embedder as Caller

            with Caller(embedder, Item._meta.get_field("embedding"), 0, 0) as caller:
                found.append(caller.embed([Item(pk=1, name="a"), Item(pk=2, name="b")]))

        async def view() -> Any:
            await sync_to_async(plain)()
            return asyncio.get_running_loop()

        assert asyncio.run(view()) is loops[0]
        assert [vector for _, vector in found[0].vectors] == [vector_of("a"), vector_of("b")]


def test_progress(items: Any) -> None:
    done: list[int] = []
    embed(items, "embedding", by_name, batch_size=4, progress=done.append)
    assert done == [4, 8, 10]


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("alias", ["default", "postgresql", "libsql"])
def test_no_transaction_is_open_meanwhile(alias: str) -> None:
    rows = Item.objects.using(alias)
    rows.bulk_create(Item(name=f"text {number}") for number in range(5))
    open_ones: list[bool] = []

    def looks(found: list[Any]) -> list[list[float]]:
        open_ones.append(connections[alias].in_atomic_block)
        transaction.on_commit(lambda: open_ones.append(False), using=alias)  # at once
        return by_name(found)

    embed(rows, "embedding", looks, batch_size=2)
    assert open_ones == [False] * 6


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_rows_that_others_have_locked(open_database: Any) -> None:
    """They are being edited: nobody waits for them, and they come again."""
    rows = Item.objects.using("postgresql")
    rows.bulk_create(Item(name=f"text {number}") for number in range(3))
    other = open_database("postgresql")

    def edits(found: list[Any]) -> list[list[float]]:
        if len(found) == 3:
            with other.cursor() as cursor:
                cursor.execute(
                    "BEGIN; UPDATE testapp_item SET name = 'edited' WHERE name LIKE '%1'"
                )
        else:
            with other.cursor() as cursor:
                cursor.execute("COMMIT")
        return by_name(found)

    report = embed(rows, "embedding", edits)
    assert (report.embedded, report.skipped) == (3, 2)
    assert_fresh(rows)


# The server lists the locks of its other databases too, where other tests embed meanwhile.
ADVISORY_LOCKS = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_no_claim_is_left() -> None:
    rows = Item.objects.using("postgresql")
    rows.bulk_create(Item(name=f"text {number}") for number in range(5))
    held: list[int] = []

    def looks(found: list[Any]) -> list[list[float]]:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute(ADVISORY_LOCKS)
            held.append(cursor.fetchone()[0])
        return by_name(found)

    embed(rows, "embedding", looks, batch_size=4)
    looks([])
    assert held == [4, 1, 0]
