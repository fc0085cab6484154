"""SQLite with the sqlite-vec extension."""

from __future__ import annotations

from dorm_vector.engines.sqlite.engine import SQLiteEngine

__all__ = ["SQLiteEngine"]
