"""libSQL, with its own vectors."""

from __future__ import annotations

from dorm_vector.engines.libsql.engine import LibSQLEngine

__all__ = ["LibSQLEngine"]
