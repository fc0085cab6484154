"""
A map of hits: their vectors in two dimensions, as the numbers that an SVG needs.

The two dimensions are the principal components of the vectors at unit length, so that what is drawn
side by side is near by the cosine. K. Pearson, "On lines and planes of closest fit to systems of
points in space", Philosophical Magazine 2 (1901), 559-572.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Map", "Point", "Spot", "draw", "project"]

WIDTH, HEIGHT, MARGIN = 440, 400, 26
RADIUS = 10
# Of a label: its height, and the width of a letter on average. Longer ones are cut.
LINE, LETTER, LONGEST = 13, 6.1, 24
FEWEST = 3


class Spot(NamedTuple):
    """What is to be on the map: its number in the list, or none for what was searched for."""

    number: int | None
    name: str
    vector: Sequence[float]


class Point(NamedTuple):
    """Where a spot is, and where its label, which is empty where there was no room for one."""

    number: int | None
    name: str
    label: str
    anchor: str
    x: float
    y: float
    label_x: float
    label_y: float


class Map(NamedTuple):
    """The points, and how much of the differences between the vectors they show, in percent."""

    points: list[Point]
    percent: int
    width: int = WIDTH
    height: int = HEIGHT
    radius: int = RADIUS


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)

    def grown(self, by: float) -> Box:
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def is_inside(self) -> bool:
        return self.left >= 0 and self.top >= 0 and self.right <= WIDTH and self.bottom <= HEIGHT


class Place(NamedTuple):
    """Where a label may stand: at which point of its baseline, and the room that it takes."""

    anchor: str
    x: float
    y: float
    box: Box

    def is_free(self, own: Box, taken: Sequence[Box]) -> bool:
        # Above and below, a label must not seem to be that of another point.
        near = self.box.grown(8) if self.anchor == "middle" else self.box
        others = (each for each in taken if each != own)
        return self.box.is_inside() and not any(map(near.meets, others))


def project(vectors: Any) -> tuple[Any, float]:
    """
    The coordinates of n vectors on their first two principal components, (n, 2), and their share.

    The share is that of the variance, from 0 to 1. Signs are chosen so that the same vectors always
    give the same picture: the largest coordinate of each component is positive.
    """
    rows = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    centred = unit - unit.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    places = left[:, :2] * values[:2]
    signs = np.sign(places[np.abs(places).argmax(axis=0), [0, 1]])
    total = float((values**2).sum())
    return places * np.where(signs == 0, 1, signs), float((values[:2] ** 2).sum()) / (total or 1)


def draw(spots: Sequence[Spot]) -> Map | None:
    """A map of the spots, or None where there are too few of them, or all at one place."""
    if len(spots) < FEWEST:
        return None
    places, share = project([spot.vector for spot in spots])
    extent = np.ptp(places, axis=0)
    if not extent.max() > 1e-6:
        return None
    inner = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    # One scale for both axes: distances on the map are to be compared.
    scale = (inner / np.maximum(extent, 1e-9)).min()
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    centres = _apart((places - middle) * scale * [1, -1] + [WIDTH / 2, HEIGHT / 2])
    return Map(_labelled(spots, centres), round(100 * share))


def _apart(centres: Any) -> Any:
    """Push circles that overlap away from each other, so that each number can be read and hit."""
    least = 2 * RADIUS + 2
    for _ in range(100):
        moved = False
        for i, j in itertools.combinations(range(len(centres)), 2):
            between = centres[j] - centres[i]
            distance = float(np.hypot(*between))
            if distance < least:
                # Those at one place go different ways, by their numbers.
                way = between / distance if distance > 1e-9 else np.array([np.cos(j), np.sin(j)])
                centres[i] -= way * (least - distance) / 2
                centres[j] += way * (least - distance) / 2
                moved = True
        centres = np.clip(centres, RADIUS + 1, [WIDTH - RADIUS - 1, HEIGHT - RADIUS - 1])
        if not moved:
            break
    return centres


def _labelled(spots: Sequence[Spot], centres: Any) -> list[Point]:
    taken = [_around(float(x), float(y)) for x, y in centres]
    points = []
    for spot, own in zip(spots, taken[:], strict=True):
        label, x, y = _short(spot.name), own.left + RADIUS, own.top + RADIUS
        found = next((each for each in _places(label, x, y) if each.is_free(own, taken)), None)
        if found is None:
            label, found = "", Place("start", x, y, own)
        else:
            taken.append(found.box)
        numbers = (round(number, 1) for number in (x, y, found.x, found.y))
        points.append(Point(spot.number, spot.name, label, found.anchor, *numbers))
    return points


def _around(x: float, y: float) -> Box:
    return Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)


def _places(label: str, x: float, y: float) -> Iterator[Place]:
    """Where a label may stand: right of its point, left, above, below."""
    width, gap = len(label) * LETTER, RADIUS + 3
    for anchor, at, baseline, left in (
        ("start", x + gap, y + 4, x + gap),
        ("end", x - gap, y + 4, x - gap - width),
        ("middle", x, y - gap, x - width / 2),
        ("middle", x, y + gap + 9, x - width / 2),
    ):
        box = Box(left, baseline - LINE + 3, left + width, baseline + 3)
        yield Place(anchor, at, baseline, box)


def _short(name: str) -> str:
    """The last two parts of a name."""
    short = ".".join(name.split(".")[-2:])
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 1]}…"
