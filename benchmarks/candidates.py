"""
How many of the nearest are among the candidates that signs and prefixes name, on real text.

Paragraphs of docstrings in 256 dimensions, and their first components as vectors of their own; 200
queries held out, in numpy, without a database. From this are the defaults of ``oversample`` and the
least components of the check W117. Writes candidates.txt.

    pip install -e '.[bench]'
    python benchmarks/candidates.py
"""

from __future__ import annotations

from collections.abc import Iterator

import common
import corpus
import glove
import numpy as np

SEED = 20_240
QUERIES, QUICK_QUERIES = 200, 20
KS = (10, 100)
OVERSAMPLES = (4, 10, 20, 40, 100)
# The dimensions of the vectors, and of the prefixes.
SIGNS = (256, 192, 160, 128, 64)
PREFIXES = {256: (128, 96, 64, 48, 32), 128: (64, 48, 32), 64: (40, 32), 32: (24, 16)}
HEAD = ("Index over", "k", *(f"{number} times" for number in OVERSAMPLES))


def main() -> None:
    options = common.arguments(__doc__)
    count, queries = (10_000, QUICK_QUERIES) if options.quick else (100_000, QUERIES)
    vectors = np.random.default_rng(SEED).permutation(corpus.corpus(count).vectors)
    with common.step(f"{len(vectors):,} paragraphs"):
        rows = [row for k in KS for row in measure(vectors[:queries], vectors[queries:], k)]
    rows.sort(key=lambda row: HELD.index(row[0]))
    title = f"{len(vectors) - queries:,} paragraphs, {queries} queries"
    common.write(options.output / "candidates.txt", common.titled(title, HEAD, rows))


HELD = [
    *(f"signs of {dimensions} dimensions" for dimensions in SIGNS),
    *(f"{part} components of {whole}" for whole, parts in PREFIXES.items() for part in parts),
]


def measure(queries: np.ndarray, rows: np.ndarray, k: int) -> Iterator[list[str]]:
    for dimensions in SIGNS:
        signs = np.sign(queries[:, :dimensions]), np.sign(rows[:, :dimensions])
        found = shares(signs, begun(queries, rows, dimensions), k)
        yield [f"signs of {dimensions} dimensions", str(k), *found]
    for whole, parts in PREFIXES.items():
        vectors = begun(queries, rows, whole)
        for part in parts:
            found = shares(begun(queries, rows, part), vectors, k)
            yield [f"{part} components of {whole}", str(k), *found]


def begun(queries: np.ndarray, rows: np.ndarray, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Their first components, of length 1."""
    return glove.unit(queries[:, :dimensions]), glove.unit(rows[:, :dimensions])


def shares(
    coarse: tuple[np.ndarray, np.ndarray], whole: tuple[np.ndarray, np.ndarray], k: int
) -> list[str]:
    """The share of the ``k`` nearest among candidates, by how many times ``k`` these are."""
    hits = np.zeros(len(OVERSAMPLES))
    for query, right in zip(coarse[0], whole[0], strict=True):
        nearest = largest(whole[1] @ right, k)
        products = coarse[1] @ query
        order = largest(products, min(k * OVERSAMPLES[-1], len(products)))
        order = order[np.argsort(-products[order], kind="stable")]
        hits += [np.isin(nearest, order[: k * number]).sum() for number in OVERSAMPLES]
    return [f"{share:.3f}" for share in hits / (k * len(whole[0]))]


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """The places of the ``k`` largest values, in no order."""
    return np.argpartition(-values, k - 1)[:k]


if __name__ == "__main__":
    main()
