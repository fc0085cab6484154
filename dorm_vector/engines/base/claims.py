"""Who embeds which rows: claims that end with the process that made them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

__all__ = ["Claims", "number"]


class Claims:
    """
    The rows of a field that this process embeds, by their keys.

    These are no claims at all: others may embed the same rows, and one of two vectors is thrown
    away. A subclass claims rows such that the end of the process, however it comes, lets them go,
    and such that nothing in the database is changed or locked.
    """

    #: How many rows may be claimed at a time, or None for any number.
    most: int | None = None

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Let go of all that is claimed."""

    def take(self, keys: list[Any]) -> list[Any]:
        """Claim what is free of some keys, and return it."""
        return keys

    def release(self, keys: Iterable[Any]) -> None:
        """Let go of keys."""


def number(*parts: object) -> int:
    """32 bits that stand for some values in every process."""
    return zlib.crc32(":".join(map(str, parts)).encode("utf-8", "surrogatepass"))
