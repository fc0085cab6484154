"""bulk_copy() where COPY cannot be used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError

from dorm_vector import bulk_copy
from dorm_vector.bulk import CHUNK
from tests.testapp.models import Arrays, Document, Halved, Ordered, Shout


class TestFallback:
    def warning(self, load: Callable[[], int]) -> str:
        with pytest.warns(RuntimeWarning) as caught:
            load()
        (warning,) = caught
        assert warning.filename == __file__
        return str(warning.message)

    def test_arrays(self, db: None) -> None:
        manager = Arrays.objects.using("postgresql")
        rows = [Arrays(vectors=[[1, 2, 3]] * n, bits=None) for n in range(1, 4)]
        message = self.warning(lambda: bulk_copy(manager, rows, batch_size=2))
        assert message == (
            "bulk_copy() inserts as bulk_create() does: no binary form is known of "
            "testapp.Arrays.vectors (ArrayField)."
        )
        found = manager.order_by("pk").values_list("vectors", "halves")
        assert list(found) == [([[1, 2, 3]] * n, None) for n in range(1, 4)]

    def test_error_names_the_row(self, db: None) -> None:
        manager = Arrays.objects.using("postgresql")
        rows = [Arrays(), Arrays(vectors=[[1, 2, 3], [1]])]
        with pytest.warns(RuntimeWarning), pytest.raises(ValidationError) as caught:
            bulk_copy(manager, rows)
        message = "Row 2: testapp.Arrays.vectors: Expected 3 dimensions, not 1."
        assert caught.value.messages == [message]

    def test_progress_and_chunks(self, db: None) -> None:
        calls: list[int] = []
        rows = (Arrays() for _ in range(CHUNK + 1))
        with pytest.warns(RuntimeWarning):
            assert (
                bulk_copy(Arrays.objects.using("postgresql"), rows, progress=calls.append) == 1001
            )
        assert calls == [CHUNK, CHUNK + 1]
        assert Arrays.objects.using("postgresql").count() == CHUNK + 1

    def test_field_with_sql_of_its_own(self, alias: str) -> None:
        manager = Shout.objects.using(alias)
        message = self.warning(lambda: bulk_copy(manager, [Shout(text="hello")]))
        assert message == (
            "bulk_copy() inserts as bulk_create() does: testapp.Shout.text (UpperField) is "
            "written by its own SQL."
        )
        assert manager.get().text == "HELLO"

    def test_vector_that_is_prepared_otherwise(self, alias: str) -> None:
        manager = Halved.objects.using(alias)
        rows = [Halved(vector=[2, 4, 6])]
        if alias == "postgresql":
            message = self.warning(lambda: bulk_copy(manager, rows))
            assert message.endswith("of testapp.Halved.vector (HalvingField).")
        else:
            bulk_copy(manager, rows)
        assert manager.get().vector == [1, 2, 3]

    def test_rows_in_order(self, alias: str) -> None:
        document = Document.objects.using(alias).create(embedding=[1, 2, 3])
        rows = [Ordered(document=document) for _ in range(3)]
        manager = Ordered.objects.using(alias)
        other = Document.objects.using(alias).create(embedding=[1, 2, 3])
        bulk_copy(manager, rows)
        more = [Ordered(document=parent) for parent in (other, document, other, document)]
        bulk_copy(manager, iter(more), batch_size=2)
        orders = manager.order_by("pk").values_list("_order", flat=True)
        assert list(orders) == [0, 1, 2, 0, 3, 1, 4]
        given = Ordered(document=document)
        given._order = 9
        bulk_copy(manager, [given, Ordered(document=document)])
        assert list(manager.order_by("-pk").values_list("_order", flat=True)[:2]) == [5, 9]
        assert Ordered(document=other).save(using=alias) is None
        assert manager.latest("pk")._order == 2
