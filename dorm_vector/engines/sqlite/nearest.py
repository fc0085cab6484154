"""
Searching the tables in which vec0 keeps its rows by numpy, within the statement.

vec0 compares bytes one by one, and looks through a chunk of its rows once for each of those that
are wanted. numpy compares a chunk at a time, and picks the nearest rows once.
"""

from __future__ import annotations

import functools
import json
from typing import Any

__all__ = ["CANDIDATES", "aggregates"]

# The keys of the nearest rows. vec0 too finds what it has of a chunk by ``_rowid_``. The chunks are
# read under the name of the index: that is what EXPLAIN shows.
CANDIDATES = (
    "SELECT value FROM json_each((SELECT {aggregate}({index}.validity, {index}.rowids, "
    "{vector_chunks00}.vectors, {searched}, %s) FROM {chunks} AS {index} "
    "LEFT JOIN {vector_chunks00} ON {vector_chunks00}._rowid_ = {index}.chunk_id))"
)
# So many chunks are kept before the nearest rows are picked from them.
CHUNKS = 256
# So many components of a chunk are widened at once: the processor's cache has room for them.
ROOM = 2**18
# From so many components on numpy 2's vecdot() takes half the time of einsum().
LONG = 128


@functools.cache
def aggregates() -> dict[str, type[Nearest]]:
    """The aggregates by the name that SQL knows them by; none where numpy is not installed."""
    try:
        import numpy  # noqa: F401
    except ImportError:
        return {}
    return {
        "dorm_nearest_int8": NearestBytes,
        "dorm_nearest_bit": NearestBits,
        "dorm_nearest_l2": NearestByL2,
        "dorm_nearest_l1": NearestByL1,
        "dorm_nearest_cosine": NearestByCosine,
    }


class Nearest:
    """
    The keys of the rows that are nearest to a vector, as a list in JSON, in no order.

    A row for each chunk: which of its places are taken (a bit each), the keys (int64) and the
    vectors in them, what is searched for, and how many keys are wanted. None are found if a chunk
    is damaged or not of such vectors: then the search reads the model's table.
    """

    #: What vec0 keeps a component, or eight bits, in.
    element = "<f4"

    def __init__(self) -> None:
        import numpy

        self.numpy = numpy
        self.count = 0
        self.is_damaged = False
        self.keys: list[Any] = []
        self.distances: list[Any] = []

    def step(self, validity: Any, rowids: Any, vectors: Any, searched: bytes, count: int) -> None:
        numpy = self.numpy
        if self.is_damaged or not fits(validity, rowids, vectors, len(searched)):
            self.is_damaged = True
            return
        if not self.keys:
            self.count = count
            self.searched = numpy.frombuffer(searched, self.element)
        stored = numpy.frombuffer(vectors, self.element).reshape(-1, len(self.searched))
        with numpy.errstate(all="ignore"):  # what overflows is far away, what is undefined is last
            distances = self.compared(stored)
        bits = numpy.unpackbits(numpy.frombuffer(validity, "u1"), bitorder="little")
        keys, taken = numpy.frombuffer(rowids, "i8"), bits.view(bool)
        if not taken.all():
            keys, distances = keys[taken], distances[taken]
        self.keys.append(keys)
        self.distances.append(distances)
        if len(self.keys) == CHUNKS:
            self._pick()

    def compared(self, stored: Any) -> Any:
        """The distances of the rows of a chunk, or what orders as they do."""
        raise NotImplementedError

    def _pick(self) -> None:
        concatenate = self.numpy.concatenate
        keys, distances = concatenate(self.keys), concatenate(self.distances)
        if len(keys) > self.count:
            nearest = self.numpy.argpartition(distances, self.count - 1)[: self.count]
            keys, distances = keys[nearest], distances[nearest]
        self.keys, self.distances = [keys], [distances]

    def finalize(self) -> str:
        if self.is_damaged or not self.keys:
            return "[]"
        self._pick()
        return json.dumps(self.keys[0].tolist())


class NearestBytes(Nearest):
    """By the Euclidean distance of bytes with a sign."""

    element = "i1"
    room: Any = None

    def compared(self, stored: Any) -> Any:
        numpy = self.numpy
        if self.room is None:
            # Whole numbers up to 2 ** 24 are exact in float32.
            self.wide = self.searched.astype("f4")
            self.room = numpy.empty((max(1, ROOM // len(self.wide)), len(self.wide)), "f4")
        distances, rows = numpy.empty(len(stored), "f4"), len(self.room)
        for start in range(0, len(stored), rows):
            part = stored[start : start + rows]
            room = self.room[: len(part)]
            numpy.copyto(room, part)
            # That the vector searched for has the same square each time changes no order.
            apart = products(numpy, room, room) - 2 * products(numpy, room, self.wide)
            distances[start : start + rows] = apart
        return distances


class NearestBits(Nearest):
    """By the Hamming distance."""

    element = "u1"

    def compared(self, stored: Any) -> Any:
        numpy = self.numpy
        differing = stored ^ self.searched
        if not hasattr(numpy, "bitwise_count"):  # before numpy 2
            return numpy.unpackbits(differing, axis=1).sum(axis=1, dtype="i4")
        if differing.shape[1] % 8 == 0:
            differing = differing.view("u8")
        return numpy.bitwise_count(differing).sum(axis=1, dtype="i4")


class NearestByL2(Nearest):
    """By the Euclidean distance."""

    def compared(self, stored: Any) -> Any:
        apart = stored - self.searched
        return products(self.numpy, apart, apart)


class NearestByL1(Nearest):
    """By the taxicab distance."""

    def compared(self, stored: Any) -> Any:
        return self.numpy.abs(stored - self.searched).sum(axis=1)


class NearestByCosine(Nearest):
    """By the cosine distance."""

    def compared(self, stored: Any) -> Any:
        product = products(self.numpy, stored, self.searched)
        return -product / self.numpy.sqrt(products(self.numpy, stored, stored))


def fits(validity: Any, rowids: Any, vectors: Any, size: int) -> bool:
    """Whether a chunk has places, and for each a key and a vector of a ``size`` in bytes."""
    if not all(isinstance(part, bytes) for part in (validity, rowids, vectors)):
        return False
    places = 8 * len(validity)
    return places > 0 and len(rowids) == 8 * places and len(vectors) == size * places


def products(numpy: Any, vectors: Any, others: Any) -> Any:
    """
    The inner product of each vector with one, or with one each.

    Not by ``@``: the threads of BLAS wait for each other where other processes are busy, which
    takes several times as long, and for ever in a process that was forked amid another product.
    It starts none for two vectors.
    """
    if hasattr(numpy, "vecdot") and vectors.shape[1] >= LONG:
        return numpy.vecdot(vectors, others)
    return numpy.einsum("ij,ij->i" if others.ndim == 2 else "ij,j->i", vectors, others)
