from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError
from django.db.backends.base.client import BaseDatabaseClient

__all__ = ["DatabaseClient"]


class DatabaseClient(BaseDatabaseClient):
    """
    Refuses ``manage.py dbshell``.

    SQLite's own shell would read a file, and damage its vector indexes, which it does not know.
    """

    executable_name = "libsql"

    def runshell(self, parameters: Iterable[str]) -> Any:
        raise CommandError(
            "libSQL comes with no shell that Django could start. Use `turso db shell` for a "
            "server; do not open a file that has vector indexes with SQLite's sqlite3."
        )
