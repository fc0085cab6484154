"""The state of vectors and indexes in a libSQL database."""

from __future__ import annotations

import contextlib
from importlib import metadata
from typing import Any

from dorm_vector.engines.libsql.search import KEY, OWN_KEY
from dorm_vector.engines.side_tables.inspection import SideTableInspection

__all__ = ["LibSQLInspection"]

ROW_KEY = KEY.format(vector="{column}")


class LibSQLInspection(SideTableInspection):
    """The part of the engine that inspects vectors and indexes."""

    index_label = "DiskANN"
    side_size = "SELECT COALESCE(sum(length(data)), 0) FROM {graph_shadow}"
    is_held = (
        "EXISTS (SELECT 1 FROM {index} WHERE "  # noqa: S608 - quoted
        f"{OWN_KEY} = {ROW_KEY} AND {{index}}.vector = {{column}})"
    )

    def facts(self) -> dict[str, Any]:
        self.connection.ensure_connection()
        raw = self.connection.connection
        versions = {"SQLite": raw.execute("SELECT sqlite_version()").fetchone()[0]}
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions = {"libsql": metadata.version("libsql"), **versions}
        remote = getattr(self.connection, "is_remote", False)
        return {
            "versions": versions,
            "loaded": "a server" if remote else "a file or the memory of this process",
            "settings": {},
        }
