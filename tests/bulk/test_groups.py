"""Rows that are passed on together are those that bulk_copy() was given, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, transaction

from dorm_vector import bulk_copy
from dorm_vector.engines.base.loaders import AT_ONCE, ROWS
from tests.support.bulk import saved_and_copied
from tests.support.matrix import only
from tests.testapp.models import PAIRS, Everything, Full, Item

COUNTS = [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, ROWS - 1, ROWS, ROWS + 1, ROWS + AT_ONCE + 7]
# The same vector, as what people have; of the numbers of a row.
FORMS = {
    "list": lambda numbers: numbers.tolist(),
    "tuple": lambda numbers: tuple(numbers.tolist()),
    "float32": lambda numbers: numbers.astype("f4"),
    "float64": lambda numbers: numbers,
    "float16": lambda numbers: numbers.astype("f2"),
    "integers": lambda numbers: numbers.astype("i8"),
    "big-endian": lambda numbers: numbers.astype(">f4"),
    "every second number": lambda numbers: np.repeat(numbers, 2).astype("f4")[::2],
    "backwards": lambda numbers: numbers[::-1].astype("f4")[::-1],
    "a column": lambda numbers: np.stack([numbers, numbers], 1).astype("f4")[:, 0],
    "read-only": lambda numbers: np.frombuffer(numbers.astype("f4").tobytes(), "f4"),
    "unaligned": lambda numbers: np.frombuffer(b"x" + numbers.astype("f4").tobytes(), "f4", -1, 1),
    "bytes": lambda numbers: numbers.astype("<f4").tobytes(),
    "text": lambda numbers: str(numbers.tolist()),
    "objects": list,
}


def numbers_of(row: int) -> Any:
    """Whole numbers, which no form rounds."""
    return np.arange(3.0) + row % 500 - 250


class TestCounts:
    @pytest.mark.parametrize("count", COUNTS)
    def test_all_in_order(self, alias: str, count: int) -> None:
        rows = (Item(name=str(n), category=-n, embedding=numbers_of(n)) for n in range(count))
        assert bulk_copy(Item.objects.using(alias), rows) == count
        found = Item.objects.using(alias).order_by("pk").values_list("name", "category")
        assert list(found) == [(str(n), -n) for n in range(count)]
        vectors = Item.objects.using(alias).order_by("pk").values_list("embedding", flat=True)
        assert list(vectors) == [numbers_of(n).tolist() for n in range(count)]

    def test_many_columns(self, alias: str) -> None:
        """More than a statement of so many rows has parameters for, by Django's count."""
        assert AT_ONCE * len(Everything._meta.concrete_fields) > 999
        saved, copied = saved_and_copied(
            alias, lambda: [Everything(pk=n, text=str(n), big=n * 2**40) for n in range(120)]
        )
        assert copied == saved

    def test_some_wide_integers(self, alias: str) -> None:
        """They are another text of the statement on libSQL."""
        numbers = [2**40 if n % 7 == 3 else n for n in range(3 * AT_ONCE + 1)]
        bulk_copy(Everything.objects.using(alias), (Everything(big=number) for number in numbers))
        found = Everything.objects.using(alias).order_by("pk").values_list("big", flat=True)
        assert list(found) == numbers


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_alone(self, alias: str, form: str) -> None:
        made = [FORMS[form](numbers_of(n)) for n in range(AT_ONCE + 3)]
        self.check(alias, made)

    def test_mixed(self, alias: str) -> None:
        forms = list(FORMS.values())
        self.check(alias, [forms[n % len(forms)](numbers_of(n)) for n in range(4 * AT_ONCE + 3)])

    def check(self, alias: str, vectors: list[Any]) -> None:
        bulk_copy(Full.objects.using(alias), (Full(a=vector) for vector in vectors))
        found = Full.objects.using(alias).order_by("pk").values_list("a", "b")
        assert list(found) == [(numbers_of(n).tolist(), None) for n in range(len(vectors))]

    def test_with_nulls(self, alias: str) -> None:
        """In two columns, in turns."""
        rows = (
            Full(a=numbers_of(n) if n % 2 else None, b=None if n % 3 else numbers_of(n).tolist())
            for n in range(2 * AT_ONCE + 5)
        )
        bulk_copy(Full.objects.using(alias), rows)
        for n, (a, b) in enumerate(Full.objects.using(alias).order_by("pk").values_list("a", "b")):
            assert a == (numbers_of(n).tolist() if n % 2 else None)
            assert b == (None if n % 3 else numbers_of(n).tolist())

    def test_one_array_that_changes(self, alias: str) -> None:
        """What makes the rows may fill the same memory for each."""

        def rows() -> Iterator[Full]:
            array, numbers = np.empty(3, "f4"), [0.0] * 3
            for n in range(3 * AT_ONCE):
                array[:], numbers[:] = numbers_of(n), numbers_of(n).tolist()
                yield Full(a=array, b=numbers)

        bulk_copy(Full.objects.using(alias), rows())
        found = list(Full.objects.using(alias).order_by("pk").values_list("a", "b"))
        assert found == [(numbers_of(n).tolist(),) * 2 for n in range(3 * AT_ONCE)]

    @pytest.mark.parametrize("dimensions", [1, 256, 16_000])
    def test_dimensions(self, alias: str, dimensions: int) -> None:
        Pair = PAIRS[dimensions]
        vectors = np.random.default_rng(7).standard_normal((12, dimensions)).astype("f4")
        rows = (Pair(a=vector, b=vector.tolist()) for vector in vectors)
        bulk_copy(Pair.objects.using(alias), rows)
        found = Pair.objects.using(alias).order_by("pk").values_list("a", "b")
        for vector, (a, b) in zip(vectors, found, strict=True):
            assert a == b == vector.tolist()


class TestRefused:
    @pytest.mark.parametrize("place", [0, AT_ONCE - 1, AT_ONCE, ROWS - 1, ROWS, ROWS + 1])
    @pytest.mark.parametrize(
        ("bad", "sentence"),
        [
            (np.array([1, np.nan, 2], "f4"), "Component 1 is NaN."),
            (np.array([1, 2, -np.inf], "f4"), "Component 2 is infinite."),
            (np.array([1, 2, np.inf], ">f4"), "Component 2 is infinite."),
            (np.ones(4, "f4"), "Expected 3 dimensions, not 4."),
            (np.ones((1, 3), "f4"), "Expected a vector, not an array of shape (1, 3)."),
            (np.ones(3, "c8"), "Expected numbers, not an array of complex64."),
            (
                np.ma.masked_array([1, 2, 3], [0, 1, 0], "f4"),
                "Component 1 is masked, not a number.",
            ),
            ([1, float("nan"), 2], "Component 1 is NaN."),
            ([1, 2], "Expected 3 dimensions, not 2."),
            ([], "Expected 3 dimensions, not 0."),
        ],
        ids=str,
    )
    def test_sentence(self, alias: str, place: int, bad: Any, sentence: str) -> None:
        """Of the row itself, whatever has been passed on before it."""
        good = np.ones(3, "f4")
        rows = (Full(a=good, b=bad if n == place else good) for n in range(ROWS + 60))
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Full.objects.using(alias), rows)
        assert caught.value.messages == [f"Row {place + 1}: testapp.Full.b: {sentence}"]
        assert not Full.objects.using(alias).exists()

    def test_the_first_of_two(self, alias: str) -> None:
        rows = (Item(name=str(n), embedding=[n, 1]) for n in range(3))
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), rows)
        assert caught.value.messages == [
            "Row 1: testapp.Item.embedding: Expected 3 dimensions, not 2."
        ]

    @pytest.mark.parametrize("place", [1, AT_ONCE - 1, AT_ONCE + 1, ROWS + 1])
    def test_by_the_database(self, alias: str, place: int) -> None:
        names = ["0" if n == place else str(n) for n in range(ROWS + 60)]
        rows = (Item(name=name, embedding=[1, 2, 3]) for name in names)
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), rows)
        assert not Item.objects.using(alias).exists()


class TestConflicts:
    def test_within_a_statement(self, alias: str) -> None:
        """Of rows with one name the first one stays."""
        rows = (Item(name=str(n % 70), category=n, embedding=[n, 0, 0]) for n in range(300))
        bulk_copy(Item.objects.using(alias), rows, ignore_conflicts=True)
        found = Item.objects.using(alias).order_by("category").values_list("name", "category")
        assert list(found) == [(str(n), n) for n in range(70)]

    @only("sqlite", "libsql")
    def test_updates_within_a_statement(self, alias: str) -> None:
        """Of rows with one name the last one counts; PostgreSQL refuses them."""
        rows = (Item(name=str(n % 70), category=n, embedding=[n, 0, 0]) for n in range(300))
        bulk_copy(
            Item.objects.using(alias),
            rows,
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["category", "embedding"],
        )
        found = Item.objects.using(alias).values_list("name", "category", "embedding")
        last = {str(n % 70): n for n in range(300)}
        assert {row[0]: row[1:] for row in found} == {
            name: (n, [float(n), 0.0, 0.0]) for name, n in last.items()
        }


@only("sqlite", "libsql")
class TestTriggers:
    """Those of the project's own see each row."""

    TRIGGERS = (
        "CREATE TRIGGER skip BEFORE INSERT ON {table} WHEN NEW.category % 3 = 0 "
        "BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER count AFTER INSERT ON {table} BEGIN UPDATE {table} SET category = "
        "(SELECT count(*) FROM {table}) WHERE id = NEW.id; END",
    )

    def test_each_row(self, alias: str) -> None:
        connection = connections[alias]
        table = connection.ops.quote_name(Item._meta.db_table)
        with transaction.atomic(alias), connection.cursor() as cursor:
            for trigger in self.TRIGGERS:
                cursor.execute(trigger.format(table=table))
            rows = (Item(name=str(n), category=n, embedding=[n, 1, 2]) for n in range(160))
            bulk_copy(Item.objects.using(alias), rows)
            found = Item.objects.using(alias).order_by("pk").values_list("name", "category")
            kept = [n for n in range(160) if n % 3]
            assert list(found) == [(str(n), place) for place, n in enumerate(kept, 1)]
