"""PostgreSQL with the pgvector extension."""

from __future__ import annotations

from dorm_vector.engines.postgresql.engine import PostgreSQLEngine

__all__ = ["PostgreSQLEngine"]
