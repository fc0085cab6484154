"""Claims by PostgreSQL's advisory locks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from dorm_vector.engines.base.claims import Claims, number

__all__ = ["AdvisoryClaims"]

TAKE = "SELECT place FROM unnest(%s::int[]) AS place WHERE pg_try_advisory_lock(%s, place)"
RELEASE = "SELECT pg_advisory_unlock(%s, place) FROM unnest(%s::int[]) AS place"


class AdvisoryClaims(Claims):
    """
    Locks of the session, one for each row: they need no transaction, and end with the session.

    A pool that gives each transaction another session would keep them: then there are no claims
    from the first one on that turns out to be another session's.
    """

    # The server holds some thousands of locks at a time, for all sessions.
    most = 1000

    def __init__(self, connection: BaseDatabaseWrapper, column: str) -> None:
        self.connection = connection
        self.space = _signed(number("dorm_vector", column))
        self.held: dict[Any, int] = {}
        self.works = True

    def __exit__(self, *exc_info: object) -> None:
        # An error may have closed the connection, or broken the transaction.
        with contextlib.suppress(DatabaseError):
            self.release(list(self.held))

    def take(self, keys: list[Any]) -> list[Any]:
        if not self.works or not keys:
            return keys
        places = {key: _signed(number(key)) for key in keys}
        # A session may take the same lock twice.
        free = set(places.values()) - set(self.held.values())
        taken = {place for (place,) in self._ask(TAKE, [sorted(free), self.space])}
        claimed = []
        for key, place in places.items():
            if place in taken:
                taken.discard(place)
                self.held[key] = place
                claimed.append(key)
        return claimed

    def release(self, keys: Iterable[Any]) -> None:
        places = [place for key in keys if (place := self.held.pop(key, None)) is not None]
        if places:
            released = self._ask(RELEASE, [self.space, places])
            self.works = self.works and all(done for (done,) in released)

    def _ask(self, sql: str, params: list[Any]) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())


def _signed(value: int) -> int:
    """32 bits as PostgreSQL's integer."""
    return value - 2**32 if value >= 2**31 else value
