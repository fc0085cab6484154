"""bulk_copy() of iterators: memory and progress."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import transaction

from dorm_vector import bulk_copy
from dorm_vector.bulk import CHUNK
from dorm_vector.engines.postgresql import copying as postgresql_copy
from tests.support.bulk import items_with
from tests.testapp.models import PAIRS, Full, Item, OnlyKey


class TestStreaming:
    def test_queries_while_rows_are_made(self, alias: str, monkeypatch: Any) -> None:
        """Loading starts before the rows end, and does not keep others from asking meanwhile."""
        monkeypatch.setattr(postgresql_copy, "SIZE", 1000)
        counts = []

        def rows() -> Iterator[Item]:
            for number in range(3 * CHUNK):
                if number % 500 == 0:
                    counts.append(Item.objects.using(alias).count())
                yield Item(name=f"{number}")

        assert bulk_copy(Item.objects.using(alias), rows()) == 3 * CHUNK
        assert counts[0] == 0
        assert counts == sorted(counts)
        assert 0 < counts[-1] < 3 * CHUNK

    def test_progress_may_write(self, alias: str) -> None:
        def note(count: int) -> None:
            OnlyKey.objects.using(alias).create()

        rows = (Item(name=f"{n}") for n in range(2500))
        bulk_copy(Item.objects.using(alias), rows, progress=note)
        assert OnlyKey.objects.using(alias).count() == 3

    def test_one_load_inside_another(self, alias: str) -> None:
        def rows() -> Iterator[Full]:
            for item in items_with({}):
                bulk_copy(Item.objects.using(alias), [item], ignore_conflicts=True)
                yield Full(a=item.embedding)

        assert bulk_copy(Full.objects.using(alias), rows(), ignore_conflicts=True) == 5
        assert Item.objects.using(alias).count() == Full.objects.using(alias).count() == 5

    @pytest.mark.parametrize("options", [{}, {"ignore_conflicts": True}, {"batch_size": 900}])
    def test_memory(self, alias: str, options: dict[str, Any]) -> None:
        class Vectors:
            def __init__(self, count: int) -> None:
                self.count = count

            def __iter__(self) -> Iterator[Any]:
                vector = [0.5] * 256
                return (Wide(a=vector, b=vector) for _ in range(self.count))

        Wide = PAIRS[256]
        peaks = []
        for count in (1000, 5000):  # 2 MB, 10 MB
            tracemalloc.start()
            bulk_copy(Wide.objects.using(alias), Vectors(count), **options)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] - peaks[0] < 5_000_000

    def test_rows_are_read_once(self, alias: str) -> None:
        rows = items_with({})
        assert bulk_copy(Item.objects.using(alias), rows) == 5
        assert next(rows, None) is None

    def test_generator_of_instances_that_is_read_in_its_order(self, alias: str) -> None:
        bulk_copy(Item.objects.using(alias), (Item(name=f"{n:04}") for n in range(2100)))
        names = list(Item.objects.using(alias).order_by("pk").values_list("name", flat=True))
        assert names == sorted(names)

    @pytest.mark.parametrize("make", [list, np.array, lambda numbers: array("f", numbers)])
    def test_one_buffer_for_all_vectors(self, alias: str, make: Any) -> None:
        """A row is taken as it is when it is read, whatever becomes of it afterwards."""
        buffer = make([0.0] * 256)

        def rows() -> Iterator[Pair]:
            for number in range(100):
                for place in range(256):
                    buffer[place] = number + place
                yield Pair(a=buffer, b=buffer)

        Pair = PAIRS[256]
        bulk_copy(Pair.objects.using(alias), rows())
        found = Pair.objects.using(alias).order_by("pk").values_list("a", "b")
        expected = [[number + place for place in range(256)] for number in range(100)]
        assert [(a, b) for a, b in found] == [(row, row) for row in expected]


class TestProgress:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (0, [0]),
            (5, [5]),
            (CHUNK, [CHUNK]),
            (2 * CHUNK + 1, [CHUNK, 2 * CHUNK, 2 * CHUNK + 1]),
        ],
    )
    def test_calls(self, alias: str, rows: int, expected: list[int]) -> None:
        calls: list[int] = []
        objects = (Item(name=f"{n}") for n in range(rows))
        assert bulk_copy(Item.objects.using(alias), objects, progress=calls.append) == rows
        assert calls == expected

    def test_batches_count_on(self, alias: str) -> None:
        calls: list[int] = []
        rows = (Item(name=f"{n}") for n in range(CHUNK + 5))
        bulk_copy(Item.objects.using(alias), rows, progress=calls.append, batch_size=300)
        assert calls == [CHUNK, CHUNK + 5]

    def test_its_error_ends_the_load(self, alias: str) -> None:
        def stop(count: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with({}), progress=stop)
        assert not Item.objects.using(alias).exists()
