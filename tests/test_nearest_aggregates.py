"""The aggregates that search vec0's chunks by numpy, against numpy in float64."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from dorm_vector.engines.sqlite import nearest
from dorm_vector.engines.sqlite.extension import load_sqlite_vec_extension

RANDOM = np.random.default_rng(7)
ROWS = 2600  # of which a chunk has 1,024
KEYS = [-5, 0, 2**62, *RANDOM.choice(10**12, ROWS - 3, replace=False).tolist()]
# The column of a side table, and the SQL of a vector in it.
ELEMENTS = {
    "int8": ("int8[{}]", "vec_int8(?)"),
    "bit": ("bit[{}]", "vec_bit(?)"),
    "l2": ("float[{}] distance_metric=l2", "?"),
    "l1": ("float[{}] distance_metric=l1", "?"),
    "cosine": ("float[{}] distance_metric=cosine", "?"),
}


def vectors(element: str, count: int, size: int) -> Any:
    if element == "int8":
        return RANDOM.integers(-128, 128, (count, size), dtype="i1")
    if element == "bit":
        return RANDOM.integers(0, 256, (count, size // 8), dtype="u1")
    return RANDOM.normal(size=(count, size)).astype("<f4")


def distances(element: str, stored: Any, searched: Any) -> Any:
    if element == "bit":
        return np.unpackbits(stored ^ searched, axis=1).sum(axis=1)
    wide, query = stored.astype("f8"), searched.astype("f8")
    if element == "cosine":
        with np.errstate(invalid="ignore"):
            return 1 - wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query)
    return np.linalg.norm(wide - query, ord=1 if element == "l1" else 2, axis=1)


class Side:
    """A vec0 table under a name that has to be quoted, and what it holds."""

    def __init__(self, raw: sqlite3.Connection, element: str, size: int) -> None:
        self.raw, self.element = raw, element
        column, self.value = ELEMENTS[element]
        self.rows = dict[int, Any]()
        raw.execute(f"CREATE VIRTUAL TABLE \"a 'b'\" USING vec0(vector {column.format(size)})")

    def add(self, keys: list[int], given: Any) -> None:
        self.raw.executemany(
            f"INSERT INTO \"a 'b'\" (rowid, vector) VALUES (?, {self.value})",
            [(key, vector.tobytes()) for key, vector in zip(keys, given, strict=True)],
        )
        self.rows.update(zip(keys, given, strict=True))

    def remove(self, keys: list[int]) -> None:
        self.raw.executemany("DELETE FROM \"a 'b'\" WHERE rowid = ?", [(key,) for key in keys])
        for key in keys:
            del self.rows[key]

    def found(self, searched: Any, count: int) -> list[int]:
        sql = nearest.CANDIDATES.format(
            aggregate=f"dorm_nearest_{self.element}",
            index="\"a 'b'\"",
            chunks="\"a 'b'_chunks\"",
            vector_chunks00="\"a 'b'_vector_chunks00\"",
            searched=self.value,
        ).replace("%s", "?")
        return [key for (key,) in self.raw.execute(sql, (searched.tobytes(), count))]

    def check(self, searched: Any, count: int) -> None:
        """Those that were found are as near as the nearest ones that there are."""
        found = self.found(searched, count)
        assert len(set(found)) == len(found) == min(count, len(self.rows))
        if self.rows:
            every = distances(self.element, np.stack(list(self.rows.values())), searched)
            mine = distances(self.element, np.stack([self.rows[key] for key in found]), searched)
            assert sorted(mine) == pytest.approx(sorted(every)[:count], rel=1e-5, abs=1e-5)


@pytest.fixture
def raw() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        load_sqlite_vec_extension(connection)
        yield connection


@pytest.mark.parametrize("size", [8, 24, 64, 320])
@pytest.mark.parametrize("element", ELEMENTS)
class TestAggregates:
    @pytest.mark.parametrize("kept", [1, 256])
    def test_rows(
        self,
        raw: sqlite3.Connection,
        monkeypatch: pytest.MonkeyPatch,
        element: str,
        size: int,
        kept: int,
    ) -> None:
        """Of several chunks, in which places have become free and were taken again."""
        monkeypatch.setattr(nearest, "CHUNKS", kept)
        side = Side(raw, element, size)
        side.add(KEYS, vectors(element, ROWS, size))
        side.remove(KEYS[::3])
        side.add(KEYS[:300:3], vectors(element, 100, size))
        for searched in vectors(element, 3, size):
            for count in (1, 40, 1500, 5000):
                side.check(searched, count)

    def test_no_rows(self, raw: sqlite3.Connection, element: str, size: int) -> None:
        side = Side(raw, element, size)
        (searched,) = vectors(element, 1, size)
        side.check(searched, 10)
        side.add([1, 2], vectors(element, 2, size))
        side.check(searched, 10)
        side.remove([1, 2])
        side.check(searched, 10)


def test_greatest_bytes(raw: sqlite3.Connection) -> None:
    """Their squares are whole numbers that float32 still tells apart."""
    side = Side(raw, "int8", 1000)
    stored = np.full((1000, 1000), -128, "i1")
    for place in range(1000):
        stored[place, :place] = -127
    side.add(list(range(1000)), stored)
    assert side.found(np.full(1000, -128, "i1"), 3) == [0, 1, 2]
    assert sorted(side.found(np.full(1000, -127, "i1"), 3)) == [997, 998, 999]


@pytest.mark.parametrize("element", ["int8", "l2", "cosine"])
def test_products_before_numpy_2(
    raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, element: str
) -> None:
    monkeypatch.delattr(np, "vecdot", raising=False)
    side = Side(raw, element, 320)
    side.add(KEYS, vectors(element, ROWS, 320))
    for searched in vectors(element, 3, 320):
        side.check(searched, 50)


def test_bits_before_numpy_2(raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    side = Side(raw, "bit", 72)
    side.add(KEYS, vectors("bit", ROWS, 72))
    for searched in vectors("bit", 3, 72):
        side.check(searched, 50)


def test_what_is_undefined_comes_last(raw: sqlite3.Connection) -> None:
    side = Side(raw, "cosine", 4)
    side.add([1, 2, 3], np.array([[0, 0, 0, 0], [1, 1, 1, 1], [-1, -1, -1, -1]], "<f4"))
    assert sorted(side.found(np.ones(4, "<f4"), 2)) == [2, 3]
    side.add([4], np.array([[3e38, 3e38, 3e38, 3e38]], "<f4"))
    assert len(side.found(np.ones(4, "<f4"), 10)) == 4


# A process that is forked while another thread multiplies finds BLAS locked for ever.
FORKED = """
import os, threading, warnings
import numpy as np
from dorm_vector.engines.sqlite import nearest

matrix, is_done = np.ones((1024, 1536), "f4"), threading.Event()

def multiply():
    while not is_done.is_set():
        matrix @ matrix[0]

thread = threading.Thread(target=multiply)
thread.start()
warnings.simplefilter("ignore")
statuses = []
for _ in range(3):
    process = os.fork()
    if process == 0:
        for kind, element in ((nearest.NearestBytes, "i1"), (nearest.NearestByCosine, "f4")):
            found, vectors = kind(), np.ones((1024, 1536), element)
            keys = np.arange(1024).tobytes()
            found.step(bytes([255] * 128), keys, vectors.tobytes(), vectors[0].tobytes(), 10)
            found.finalize()
        os._exit(0)
    statuses.append(os.waitpid(process, 0)[1])
is_done.set()
thread.join()
print(statuses)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_in_a_forked_process() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, timeout=120)
    assert done.stdout.split() == b"[0, 0, 0]".split(), done.stderr


@pytest.mark.parametrize("size", [8, 1000])
def test_a_chunk_in_parts(
    raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """As much of it is widened at once as there is room for, and at least one vector."""
    monkeypatch.setattr(nearest, "ROOM", 300)
    side = Side(raw, "int8", size)
    side.add(KEYS, vectors("int8", ROWS, size))
    for searched in vectors("int8", 2, size):
        side.check(searched, 50)


def test_none_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    assert nearest.aggregates.__wrapped__() == {}


def test_finalize_without_rows() -> None:
    assert json.loads(nearest.NearestBytes().finalize()) == []
