"""What the answers ought to be: numpy in float64, over the float32 values that are stored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def float32(vector: Any) -> np.ndarray:
    return np.asarray(vector, dtype="f4").astype("f8")


def l2(a: Any, b: Any) -> float:
    return float(np.linalg.norm(float32(a) - float32(b)))


def cosine(a: Any, b: Any) -> float:
    a, b = float32(a), float32(b)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(1 - a @ b / norms) if norms else math.nan


def ip(a: Any, b: Any) -> float:
    return float(-(float32(a) @ float32(b)))


def l1(a: Any, b: Any) -> float:
    return float(np.abs(float32(a) - float32(b)).sum())


DISTANCES = {"l2": l2, "cosine": cosine, "ip": ip, "l1": l1}


def tolerance(metric: str, a: Any, b: Any) -> float:
    """
    The absolute error that float32 arithmetic may make.

    1e-5 of the distance, and for the metrics that subtract large numbers from each other 1e-5 of
    those: the cosine from 1, the products that the inner product sums up. The engines add up in
    float32, one component after the other, so that the error grows with very long vectors.
    """
    if metric == "cosine":
        scale = 1.0
    elif metric == "ip":
        scale = float(np.linalg.norm(float32(a)) * np.linalg.norm(float32(b)))
    else:
        scale = DISTANCES[metric](a, b)
    return 1e-5 * scale * max(1.0, math.sqrt(len(a) / 256))
