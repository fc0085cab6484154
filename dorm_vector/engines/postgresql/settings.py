"""Settings that hold for a block, here and on the workers of Citus."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import transaction

from dorm_vector.sql import literal, word

__all__ = ["PostgreSQLSettings"]

# Without it SET LOCAL ends at Citus's coordinator, and the workers search with what they have.
# Source: https://github.com/citusdata/citus, src/backend/distributed/shared_library_init.c
PROPAGATED = {"citus.propagate_set_commands": "local"}
CITUS = "SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'citus'"


class PostgreSQLSettings:
    """The part of the engine that sets what a search needs."""

    connection: Any

    @functools.cached_property
    def has_citus(self) -> bool:
        """Whether tables may lie on other servers, of Citus. Asked once for each connection."""
        self.connection.ensure_connection()
        # The driver's own cursor: what projects count and log does not change.
        with self.connection.wrap_database_errors, self.connection.connection.cursor() as cursor:
            cursor.execute(CITUS)
            return bool(cursor.fetchall())

    def local_settings(self, settings: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
        return self._set_for_block(settings) if settings else contextlib.nullcontext()

    @contextlib.contextmanager
    def _set_for_block(self, settings: dict[str, Any]) -> Iterator[None]:
        """
        SET LOCAL inside a transaction: a plain SET would survive in a connection pool.

        SET LOCAL lasts until the end of the whole transaction, so what was set before is put back
        where one was open. An error undoes it together with the savepoint.
        """
        if self.has_citus:
            settings = {**PROPAGATED, **settings}
        outer = self.connection.in_atomic_block or not self.connection.get_autocommit()
        before = self._current_settings(settings) if outer else {}
        with transaction.atomic(using=self.connection.alias):
            self._set_local(settings)
            yield
            if not self.connection.needs_rollback:
                # The other way round: what was set before has to reach the workers too.
                self._set_local(dict(reversed(before.items())))

    def _current_settings(self, names: Iterable[str]) -> dict[str, Any]:
        listed = ", ".join(f"current_setting({literal(name)}, true)" for name in names)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {listed}")
            return dict(zip(names, cursor.fetchone(), strict=True))

    def _set_local(self, settings: dict[str, Any]) -> None:
        with self.connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"SET LOCAL {word(name)} = {_written(value)}")


def _written(value: Any) -> str:
    """A setting as SET takes it; unset, as before pgvector is loaded, it reads as nothing."""
    if value in (None, ""):
        return "DEFAULT"
    # A number of a class of its own may show itself as anything.
    return literal(value if isinstance(value, str) else literal(value))
