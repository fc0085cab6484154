from __future__ import annotations

import multiprocessing
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError
from django.db.backends.sqlite3.creation import DatabaseCreation as SQLiteCreation

from dorm_vector.backends.libsql.locations import is_remote, without_secrets

__all__ = ["DatabaseCreation"]

# Options that tie a database to a server, which tests must not write to.
REMOTE_OPTIONS = ("auth_token", "offline", "sync_interval", "sync_url")


class DatabaseCreation(SQLiteCreation):
    """Test databases are in memory or in files, even if the database is on a server."""

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        name = self._get_test_db_name()  # type: ignore[attr-defined]
        if is_remote(name):
            raise ImproperlyConfigured(
                f"The test database of {self.connection.alias!r} is a server, "
                f"{without_secrets(name)}, where none can be "
                "created: name a file in TEST, or nothing for a database in memory."
            )
        options = self.connection.settings_dict["OPTIONS"]
        kept = {key: value for key, value in options.items() if key not in REMOTE_OPTIONS}
        self.connection.settings_dict["OPTIONS"] = kept
        created = super()._create_test_db(verbosity, autoclobber, keepdb)  # type: ignore[misc]
        return str(created)

    def get_test_db_clone_settings(self, suffix: str) -> dict[str, Any]:
        method = multiprocessing.get_start_method()
        if method != "fork" and self.connection.is_in_memory_db():
            raise NotSupportedError(
                f"Cloning a libSQL database in memory with start method {method!r} is not "
                "supported: name a file in TEST."
            )
        return super().get_test_db_clone_settings(suffix)

    def setup_worker_connection(self, _worker_id: int) -> None:
        """Open the worker's own copy, spawned or forked."""
        # In place, for new threads to see it; a worker that raised here would be started again
        # and again.
        self.connection.settings_dict.update(self.get_test_db_clone_settings(str(_worker_id)))
        self.connection.close()
