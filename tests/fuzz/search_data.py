"""Rows to search, and the vectors and limits of searches that rounding cannot make ambiguous."""

from __future__ import annotations

import dataclasses
import datetime
import random
import uuid
from typing import Any

import numpy as np

from tests.fuzz.search_models import DIMENSIONS, Owner, Setup, Tag
from tests.fuzz.search_oracle import distance

__all__ = ["DATA", "Data", "static_rows"]

# The number of rows, and whether components are whole numbers: these have exactly equal distances,
# and the others have none but those of equal vectors.
DATA = {
    "none": (0, True),
    "few": (5, True),
    "whole": (40, True),
    "real": (40, False),
    "equal": (50, True),
    "many": (1500, False),
}
WEIGHTS = {"none": 1, "few": 2, "whole": 6, "real": 6, "equal": 2, "many": 2}
QUERIES = 5
# Distances nearer to each other than this may come in either order; equal ones by their key.
GAP = 1e-4


@dataclasses.dataclass
class Data:
    """The rows of one table, and what to search them for."""

    setup: Setup
    name: str
    rng: random.Random

    def __post_init__(self) -> None:
        self.count, self.is_whole = DATA[self.name]
        if self.setup.values == "bit":
            self.is_whole = True
        self.keys = self._keys()
        self.rows = [self._row(number, key) for number, key in enumerate(self.keys)]
        self.links = self._links()
        self.chunks = self._chunks() if self.setup.children else []
        self.rng.shuffle(self.rows)
        self.queries = [self._query(number) for number in range(QUERIES)]

    @property
    def is_clear(self) -> bool:
        """Whether no two distances are so near to each other that rounding orders them."""
        return self.count <= 100

    @property
    def metrics(self) -> list[str]:
        """Those under which distances that are equal to numpy are so to an engine."""
        if self.setup.values == "bit":
            return ["hamming", "jaccard"]
        # Whole numbers point into equal directions, and rounding decides between them.
        return ["l2", "ip", "l1"] if self.is_whole else ["l2", "cosine", "ip", "l1"]

    def vectors(self, field: str) -> list[Any]:
        if field == "chunks__embedding":
            return [chunk["embedding"] for chunk in self.chunks]
        return [row.get(field) for row in self.rows]

    def _keys(self) -> list[Any]:
        numbers = self.rng.sample(range(1, self.count * 3 + 1), self.count)
        key = self.setup.model._meta.pk
        if self.setup.is_composite:
            return [(number % 3, number) for number in numbers]
        make: Any = {
            "UUIDField": lambda number: uuid.UUID(int=number * 7919 << 60),
            "CharField": lambda number: f"k{number:05}",
        }.get(type(key).__name__, int)
        return [make(number) for number in numbers]

    def _row(self, number: int, key: Any) -> dict[str, Any]:
        pk = {self._key_name(): key}
        if self.setup.is_composite:
            pk = dict(zip(("tenant", "number"), key, strict=True))
        row = {
            **pk,
            "cat": self.rng.randrange(4),
            "name": f"n{number:05}",
            "day": datetime.date(2024, 1, 1) + datetime.timedelta(days=self.rng.randrange(90)),
        }
        for field in self._own_fields():
            row[field] = self.vector(null=0.1)
        if self.name == "equal" and row["embedding"] is not None:
            row["embedding"] = [1] * self.setup.dimensions
        if self.setup.has_relations:
            row["owner_id"] = self.rng.choice([None, 1, 2, 3])
        if self.setup.name == "AB" or (self.setup.name == "B" and number % 2):
            row["aid"], row["word"] = self.count * 3 + 1 - key, "w"
        return row

    def _key_name(self) -> str:
        # Of an inheriting model, the parent's.
        return "id" if len(self.setup.tables) > 1 else str(self.setup.model._meta.pk.attname)

    def _own_fields(self) -> list[str]:
        return sorted({"embedding", "other", *self.setup.fields})

    def vector(self, null: float = 0.0) -> Any:
        """A row's vector: None, zero, equal to others, or any."""
        draw, size = self.rng.random(), self.setup.dimensions
        if draw < null:
            return None
        if self.setup.values == "bit":
            return [int(self.rng.random() < 0.5) for _ in range(size)]
        if draw < null + 0.05:
            return [0] * size
        if draw < null + 0.15:
            return [1] * (size - 1) + [2]
        if self.is_whole:
            return [self.rng.randint(-3, 3) for _ in range(size)]
        return [round(self.rng.gauss(0, 1), 3) for _ in range(size)]

    def _links(self) -> list[tuple[Any, int]]:
        if not self.setup.has_relations:
            return []
        tags = range(1, len(static_rows()[Tag]) + 1)
        return [
            (key, tag) for key in self.keys for tag in self.rng.sample(tags, self.rng.randrange(3))
        ]

    def _chunks(self) -> list[dict[str, Any]]:
        rows = [
            {"row_id": key, "lang": self.rng.randrange(2), "embedding": self.vector(null=0.1)}
            for key in self.keys
            for _ in range(self.rng.randrange(4))
        ]
        self.rng.shuffle(rows)
        return [{"id": number, **row} for number, row in enumerate(rows, 1)]

    def _query(self, number: int) -> list[float]:
        own = self.rows[0]["embedding"] if number == 0 and self.rows else None
        if own and (not self.is_clear or self._separates(own)):
            return list(own)
        for _ in range(50):
            vector = self.vector()
            if not self.is_clear or self._separates(vector):
                break
        if self.setup.values == "halfvec":  # as the field rounds it
            return [float(number) for number in np.float16(vector)]
        return list(vector)

    def _separates(self, query: Any) -> bool:
        return all(
            self._gaps_are_clear(query, field, metric)
            for field in self._own_fields()
            for metric in self.metrics
        )

    def separates_row(self, place: int) -> bool:
        """Whether a search for the vector of a row has no distances that rounding orders."""
        if self.is_whole or not self.is_clear:
            return True
        names = {f"n{place:05}", f"n{2 * place + 1:05}"}
        rows = [row for row in self.rows if row["name"] in names]
        vectors = [row[field] for row in rows for field in self._own_fields()]
        return all(vector is None or self._separates(vector) for vector in vectors)

    def _gaps_are_clear(self, query: Any, field: str, metric: str) -> bool:
        vectors = self.vectors(field)
        if not self.is_whole:  # equal sums of fractions are rounded each in its own way
            vectors = list({repr(vector): vector for vector in vectors}.values())
        found = [distance(metric, vector, query) for vector in vectors]
        gaps = np.diff(sorted(number for number in found if number is not None))
        return bool(np.all((gaps > GAP) | ((gaps < 1e-12) & self.is_whole)))

    def distances(self, query: Any, field: str, metric: str) -> list[float]:
        found = [distance(metric, vector, query) for vector in self.vectors(field)]
        return sorted(number for number in found if number is not None)

    def limit(self, query: Any, field: str, metric: str, rng: random.Random) -> float:
        """A distance between two of the rows'; or exactly one of them, where that is exact."""
        found = self.distances(query, field, metric)
        if len(found) < 2:
            return 1.5
        if self.is_whole and metric in ("ip", "l1", "hamming") and rng.random() < 0.3:
            return rng.choice(found)
        return between(found, rng)

    def pair_limit(self, field: str, metric: str, rng: random.Random) -> float:
        """A distance between two of those between rows."""
        vectors = [vector for vector in self.vectors(field)[:60] if vector is not None]
        found = [distance(metric, a, b) for a in vectors for b in vectors]
        return between(sorted(number for number in found if number is not None) or [0, 1], rng)


def between(numbers: list[float], rng: random.Random) -> float:
    """A number in the widest gap near a random place of a sorted list."""
    if len(numbers) < 2:
        return 1.5
    start = rng.randrange(max(len(numbers) // 2, 1))
    gaps = np.diff(numbers[start : start + 40])
    if not len(gaps) or gaps.max() < 2 * GAP:
        return round(numbers[-1] + 1, 3)
    place = start + int(gaps.argmax())
    return round((numbers[place] + numbers[place + 1]) / 2, 5)


def static_rows() -> dict[Any, list[dict[str, Any]]]:
    vectors = [[1, 0, 0, 2], [0, 1, 3, 0], None, [2, 2, 0, 1], [0, 0, 0, 0]]
    assert all(vector is None or len(vector) == DIMENSIONS for vector in vectors)
    return {
        model: [
            {"id": number, "name": f"{letter}{number}", "embedding": vectors[number - 1]}
            for number in range(1, 6)
        ]
        for model, letter in ((Owner, "o"), (Tag, "t"))
    }
