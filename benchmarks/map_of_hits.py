"""
A map of the hits of one search: the embeddings of 256 dimensions, projected to two by PCA.

The texts are the documented names of Python's standard library, as the example embeds them. Writes
map_of_hits.svg.

    pip install -e '.[demo]'
    python benchmarks/map_of_hits.py "compress a file" --output docs/images
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from example_project.library import embedding, stdlib  # noqa: E402

HITS = 60
WIDTH, HEIGHT, MARGIN = 860, 520, 40
SIZE = 12
COLOURS = ("#1d4ed8", "#b45309", "#047857", "#b91c1c", "#6d28d9", "#0e7490", "#be185d")
OTHER = "#4b5563"


class Hit(NamedTuple):
    name: str
    module: str
    distance: float
    x: float
    y: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("text")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "map_of_hits.svg").write_text(drawn(options.text))


def drawn(text: str) -> str:
    entries = stdlib.documented()
    vectors = unit(np.array(embedding.embed_entries(entries), dtype=np.float64))
    query = unit(np.array(embedding.embed([text]), dtype=np.float64))
    distances = 1 - vectors @ query[0]
    nearest = np.argsort(distances, kind="stable")[:HITS]
    places, kept = projected(np.concatenate([query, vectors[nearest]]))
    hits = [
        Hit(entries[row].name, entries[row].module.partition(".")[0], distances[row], *place)
        for row, place in zip(nearest, scaled(places)[1:], strict=True)
    ]
    return svg(text, tuple(scaled(places)[0]), hits, kept, len(entries))


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def projected(rows: Any) -> tuple[Any, float]:
    """The rows on their two principal components, and the share of the variance that these have."""
    centred = rows - rows.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * lengths[:2], float((lengths[:2] ** 2).sum() / (lengths**2).sum())


def scaled(places: Any) -> Any:
    """The places in pixels, by one scale for both axes' directions."""
    low, high = places.min(axis=0), places.max(axis=0)
    room = np.array([WIDTH - 2 * MARGIN - 90, HEIGHT - 2 * MARGIN - 30])
    return MARGIN + (places - low) / (high - low) * room


def svg(text: str, query: Any, hits: list[Hit], kept: float, total: int) -> str:
    modules = [hit.module for hit in hits]
    ranked = sorted(dict.fromkeys(modules), key=lambda name: -modules.count(name))
    colours = dict(zip(ranked, COLOURS, strict=False))
    title = (
        f"The {HITS} entries of {total:,} that are nearest to “{text}”, by two principal components"
    )
    note = (
        f"256 dimensions in two, which hold {kept:.0%} of the variance."
        " The larger a dot, the nearer it is."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="system-ui, sans-serif" font-size="{SIZE}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            *points(hits, colours),
            *labels(query, text, hits, colours),
            f'<text x="{MARGIN}" y="{HEIGHT - 14}" fill="#4b5563">{escape(note)}</text>',
            "</svg>\n",
        ]
    )


def points(hits: list[Hit], colours: dict[str, str]) -> Iterator[str]:
    for hit in reversed(hits):
        radius = 2 + 8 * max(0.0, 1 - hit.distance)
        yield (
            f'<circle cx="{hit.x:.1f}" cy="{hit.y:.1f}" r="{radius:.1f}" '
            f'fill="{colours.get(hit.module, OTHER)}" fill-opacity="0.75">'
            f"<title>{escape(hit.name)}, {hit.distance:.3f}</title></circle>"
        )


def labels(query: Any, text: str, hits: list[Hit], colours: dict[str, str]) -> Iterator[str]:
    """The text that was searched for, and the names of the nearest that have room."""
    x, y = query
    cross = f"M{x - 7:.1f} {y:.1f}h14M{x:.1f} {y - 7:.1f}v14"
    yield f'<path d="{cross}" stroke="#111827" stroke-width="3"/>'
    taken = [(hit.x - 5, hit.y - 5, hit.x + 5, hit.y + 5) for hit in hits]
    taken.append((x - 8, y - 8, x + 8, y + 8))
    wanted = [(x, y, f"“{text}”", "#111827", "bold")]
    wanted += [(hit.x, hit.y, hit.name, colours.get(hit.module, OTHER), "normal") for hit in hits]
    for x, y, name, colour, weight in wanted:
        for left, low in candidates(x, y, name):
            box = (left, low - SIZE, left + len(name) * SIZE * 0.56, low + 3)
            if all(apart(box, other) for other in taken) and box[2] < WIDTH and box[0] > 0:
                taken.append(box)
                yield (
                    f'<text x="{left:.1f}" y="{low:.1f}" fill="{colour}" font-weight="{weight}">'
                    f"{escape(name)}</text>"
                )
                break


def candidates(x: float, y: float, name: str) -> Iterator[tuple[float, float]]:
    width = len(name) * SIZE * 0.56
    for rise in (4, -8, 18):
        yield x + 11, y + rise
        yield x - 11 - width, y + rise


def apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


if __name__ == "__main__":
    main()
