"""What bulk_copy() refuses, it loads by no half."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, transaction

from dorm_vector import bulk_copy
from tests.support.bulk import items_with, refused
from tests.testapp.models import PAIRS, Chunk, Document, Everything, Item, SubItem


class TestErrors:
    @pytest.mark.parametrize(
        ("third", "message"),
        [
            ({"embedding": [1, 2]}, "Expected 3 dimensions, not 2."),
            ({"embedding": np.ones(4)}, "Expected 3 dimensions, not 4."),
            ({"embedding": [1, float("nan"), 2]}, "Component 1 is NaN."),
            ({"embedding": np.array([1, 1e39, 2])}, "Component 1 is 1e+39, beyond"),
            ({"embedding": np.array([1, np.inf, 2], "f4")}, "Component 1 is infinite."),
            ({"embedding": "hello"}, "'hello' is not a vector."),
        ],
    )
    def test_vectors(self, alias: str, third: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with(third))
        assert caught.value.messages[0].startswith(f"Row 3: testapp.Item.embedding: {message}")
        assert caught.value.code is not None
        assert not Item.objects.using(alias).exists()

    @pytest.mark.parametrize(
        ("third", "message"),
        [
            ({"category": "many"}, "Row 3: Field 'category' expected a number but got 'many'."),
            ({"category": [1]}, "Row 3: Field 'category' expected a number but got [1]."),
        ],
    )
    def test_others(self, alias: str, third: dict[str, Any], message: str) -> None:
        with refused() as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with(third))
        assert str(caught.value) == message
        assert not Item.objects.using(alias).exists()

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("small", 32768, "Row 2: 32768 is out of the range of 2 bytes."),
            ("integer", -(2**31) - 1, "Row 2: -2147483649 is out of the range of 4 bytes."),
            ("big", 2**63, "Row 2: 9223372036854775808 is out of the range of 8 bytes."),
            ("text", "a\0b", "Row 2: PostgreSQL text fields cannot contain NUL (0x00) bytes."),
            ("text", "\ud800", "Row 2: 'utf-8' codec can't encode"),
            ("duration", "1 day", "Row 2: 'str' object has no attribute"),
            ("number", Decimal("1E+200000"), "Row 2: "),
        ],
    )
    def test_what_has_no_binary_form(self, db: None, field: str, value: Any, message: str) -> None:
        manager = Everything.objects.using("postgresql")
        with refused() as caught, transaction.atomic("postgresql"):
            bulk_copy(manager, [Everything(), Everything(**{field: value})])
        assert str(caught.value).startswith(message)
        assert not manager.exists()

    @pytest.mark.parametrize(
        "row",
        [
            {"cents": Decimal("1000")},
            {"char": "x" * 51},
            {"json": "\0"},
        ],
    )
    def test_what_the_server_refuses(self, db: None, row: dict[str, Any]) -> None:
        manager = Everything.objects.using("postgresql")
        with pytest.raises(DataError), transaction.atomic("postgresql"):
            manager.create(**row)
        with pytest.raises(DataError, match=r"COPY \S+, line 2"), transaction.atomic("postgresql"):
            bulk_copy(manager, [Everything(), Everything(**row)])
        assert not manager.exists()

    @pytest.mark.parametrize("alias", ["default", "libsql"])
    def test_what_the_driver_refuses(self, db: None, alias: str) -> None:
        manager = Everything.objects.using(alias)
        with pytest.raises(Exception) as saved, transaction.atomic(alias):  # noqa: PT011
            manager.create(big=2**63)
        with pytest.raises(saved.type), transaction.atomic(alias):
            bulk_copy(manager, [Everything(), Everything(big=2**63)])
        assert not manager.exists()

    def test_null(self, alias: str) -> None:
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with({"name": None}))
        assert not Item.objects.using(alias).exists()

    def test_check(self, alias: str) -> None:
        rows = [Everything(positive=1), Everything(positive=-1)]
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Everything.objects.using(alias), rows)
        assert not Everything.objects.using(alias).exists()

    def test_unsaved_related_object(self, alias: str) -> None:
        saved = Document.objects.using(alias).create(embedding=[1, 2, 3])
        chunks = [Chunk(document=saved), Chunk(document=Document())]
        with refused() as caught, transaction.atomic(alias):
            bulk_copy(Chunk.objects.using(alias), chunks)
        assert str(caught.value) == (
            "Row 2: bulk_copy() prohibited to prevent data loss due to unsaved related object "
            "'document'."
        )
        assert not Chunk.objects.using(alias).exists()

    @pytest.mark.parametrize("other", [None, 3, "row", {"name": "x"}, Document(title="x"), Item])
    def test_not_an_instance(self, alias: str, other: Any) -> None:
        with refused() as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), [Item(name="1"), other])
        assert str(caught.value) == f"Row 2: Expected an instance of Item, not {other!r}."

    def test_error_of_the_iterable_is_left_alone(self, alias: str) -> None:
        def rows() -> Iterator[Item]:
            yield Item(name="1")
            raise ValueError("the file ends here")

        with pytest.raises(ValueError, match=r"^the file ends here$"), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), rows())
        assert not Item.objects.using(alias).exists()

    def test_far_down(self, alias: str) -> None:
        rows = (Item(name=f"{n}", embedding=[1, 2] if n == 2500 else None) for n in range(3000))
        with pytest.raises(ValidationError, match="Row 2501: "), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), rows)
        assert not Item.objects.using(alias).exists()

    @pytest.mark.parametrize("make", [list, tuple, np.array, np.float32])
    @pytest.mark.parametrize("number", [1, 32, 33, 1500])
    def test_which_of_many_is_not_finite(self, alias: str, make: Any, number: int) -> None:
        """Also where those before it are NULL, and another one of the row is in order."""

        def rows() -> Iterator[Any]:
            for count in range(1, 2001):
                vector = [float(count), math.inf if count == number else 1.0, 2.0]
                yield Pair(a=make([1.0, 2.0, 3.0]), b=None if count % 7 == 3 else make(vector))

        Pair = PAIRS[3]
        message = f"Row {number}: testapp.Pair3.b: Component 1 is infinite."
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Pair.objects.using(alias), rows())
        assert (caught.value.messages, caught.value.code) == ([message], "infinite")
        assert not Pair.objects.using(alias).exists()

    def test_not_finite_before_rows_of_other_columns(self, alias: str) -> None:
        Pair = PAIRS[3]
        rows = [Pair(a=[math.nan] * 3), Pair(pk=7, a=[1, 2, 3])]
        message = "Row 1: testapp.Pair3.a: Component 0 is NaN."
        with pytest.raises(ValidationError, match=message), transaction.atomic(alias):
            bulk_copy(Pair.objects.using(alias), rows)

    @pytest.mark.parametrize(
        "vector", [np.ones((1, 3), "f4"), np.ones((3, 1), "f4"), [np.ones(3)], [[1, 2, 3]]]
    )
    def test_nested(self, alias: str, vector: Any) -> None:
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with({"embedding": vector}))
        assert caught.value.code in ("nested", "dimensions")
        assert caught.value.messages[0].startswith("Row 3: ")

    def test_multi_table_inheritance(self, alias: str) -> None:
        with refused() as caught:
            bulk_copy(SubItem.objects.using(alias), [])
        assert str(caught.value) == "Can't bulk create a multi-table inherited model"

    @pytest.mark.parametrize("size", [0, -1, 1.5, "10", True])
    def test_batch_size(self, alias: str, size: Any) -> None:
        with refused() as caught:
            bulk_copy(Item.objects.using(alias), [], batch_size=size)
        assert str(caught.value) == f"bulk_copy() needs a batch_size of 1 or more, not {size!r}."
