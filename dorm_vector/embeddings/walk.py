"""Going through the rows that need a vector, by key, alongside other processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dorm_vector.embeddings.rows import Rows

__all__ = ["Walk"]

# Rows may need a vector again behind the walk: it is repeated until none do, up to so often.
MAX_PASSES = 10


class Walk:
    """
    Keys in batches, each claimed until it is settled.

    No transaction and no cursor is open between batches.
    """

    def __init__(self, rows: Rows, claims: Any, batch_size: int, limit: int | None) -> None:
        self.rows, self.claims = rows, claims
        self.batch_size = min(batch_size, claims.most or batch_size)
        self.limit = limit
        #: How many rows were handed out, and how many of them came back.
        self.dealt = self.settled = 0
        self._out: set[Any] = set()
        self._failed: set[Any] = set()
        self._again: list[Any] = []
        self._passed = False

    def __iter__(self) -> Iterator[list[Any]]:
        for _ in range(MAX_PASSES):
            before = self.dealt
            if self._again:
                yield from self._again_first()
            # All rows are visited once; those without a vector, as long as there are any.
            elif not (self.rows.all_rows and self._passed):
                self._passed = True
                yield from self._pass()
            if self.dealt == before:
                break

    def settle(self, keys: list[Any], failed: Any, changed: list[Any]) -> None:
        """Release a batch, with the keys that failed for good and those whose rows were changed."""
        self.settled += len(keys)
        self._out.difference_update(keys)
        self._failed.update(failed)
        if self.rows.all_rows:
            self._again += changed
        self.claims.release(keys)

    def _pass(self) -> Iterator[list[Any]]:
        after, ended = None, False
        while not ended:
            batch: list[Any] = []
            while not ended and (wanted := self._room() - len(batch)) > 0:
                keys = self.rows.keys(after, wanted)
                ended = len(keys) < wanted
                after = keys[-1] if keys else after
                batch += self._claimed(keys)
            if not batch:
                break
            self.dealt += len(batch)
            yield batch

    def _again_first(self) -> Iterator[list[Any]]:
        keys, self._again = self._again, []
        while keys and self._room():
            batch = self._claimed(keys[: self._room()])
            keys = keys[self._room() :]
            if batch:
                self.dealt += len(batch)
                yield batch

    def _room(self) -> int:
        if self.limit is None:
            return self.batch_size
        return min(self.batch_size, self.limit - self.dealt)

    def _claimed(self, keys: list[Any]) -> list[Any]:
        free = [key for key in keys if key not in self._out and key not in self._failed]
        claimed: list[Any] = self.claims.take(free)
        self._out.update(claimed)
        return claimed
