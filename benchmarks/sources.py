"""The vectors that benchmarks search: of real text, as users have them, and of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import corpus
import glove
import numpy as np

__all__ = ["GLOVE", "SOURCES", "TEXT", "Source"]

# What is parsed in seconds, for --quick.
QUICK = 10_000


class Source(NamedTuple):
    """What a table is named by, what its vectors are called, and these."""

    key: str
    title: str
    dimensions: int
    #: Of at least so many rows where there are as many.
    load: Callable[[int], np.ndarray]


def paragraphs(count: int) -> np.ndarray:
    vectors: np.ndarray = corpus.corpus(QUICK if count <= QUICK else 100_000).vectors
    return vectors


GLOVE = Source(
    "glove",
    f"of GloVe's vectors of {glove.DIMENSIONS} dimensions",
    glove.DIMENSIONS,
    lambda count: glove.glove(),
)
TEXT = Source(
    "text", f"paragraphs in {corpus.DIMENSIONS} dimensions", corpus.DIMENSIONS, paragraphs
)
SOURCES = {source.key: source for source in (TEXT, GLOVE)}
