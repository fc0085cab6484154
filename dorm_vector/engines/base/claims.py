"""Who embeds which rows: claims that end with the process that made them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

__all__ = ["Claims", "number"]


class Claims:
    """
    The rows of a field that this process embeds, by their keys.

    This class claims nothing: others may embed the same rows, and one of two vectors is discarded.
    A subclass claims rows such that they are released when the process ends, however it ends, and
    changes or locks nothing in the database.
    """

    #: How many rows may be claimed at a time, or None for any number.
    most: int | None = None

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Release all claims."""

    def take(self, keys: list[Any]) -> list[Any]:
        """Claim those of the keys that are free, and return them."""
        return keys

    def release(self, keys: Iterable[Any]) -> None:
        """Let go of keys."""


def number(*parts: object) -> int:
    """32 bits that stand for some values in every process."""
    return zlib.crc32(":".join(map(str, parts)).encode("utf-8", "surrogatepass"))
