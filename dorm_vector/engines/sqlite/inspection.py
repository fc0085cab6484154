"""The state of vectors and indexes in a SQLite database."""

from __future__ import annotations

from typing import Any

from dorm_vector.engines.side_tables.inspection import SideTableInspection

__all__ = ["SQLiteInspection"]

PRAGMAS = ("journal_mode", "cache_size", "mmap_size", "busy_timeout", "trusted_schema")


class SQLiteInspection(SideTableInspection):
    """The part of the engine that inspects vectors and indexes."""

    tier: str | None
    index_label = "vec0"
    # vec0 keeps its vectors in blobs of a thousand.
    side_size = "SELECT COALESCE(sum(length(vectors)), 0) FROM {vector_chunks00}"
    is_held = "{pk} IN (SELECT rowid FROM {index})"

    def facts(self) -> dict[str, Any]:
        self.connection.ensure_connection()
        raw = self.connection.connection
        loaded = self.tier not in (None, "python")
        return {
            "versions": {
                "SQLite": raw.execute("SELECT sqlite_version()").fetchone()[0],
                "sqlite-vec": (
                    raw.execute("SELECT vec_version()").fetchone()[0] if loaded else "not loaded"
                ),
            },
            "loaded": self.tier or "not at all",
            "settings": {name: _pragma(raw, name) for name in PRAGMAS},
        }


def _pragma(raw: Any, name: str) -> Any:
    row = raw.execute(f"PRAGMA {name}").fetchone()
    return row and row[0]
