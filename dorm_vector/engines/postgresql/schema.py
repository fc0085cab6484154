"""PostgreSQL's schema editor, with what vectors need."""

from __future__ import annotations

from typing import Any

from dorm_vector.engines import engine_for
from dorm_vector.engines.base.schema import VectorAlterations

__all__ = ["PostgreSQLAlterations"]


class PostgreSQLAlterations(VectorAlterations):
    """The part of PostgreSQL's schema editor that knows vectors."""

    @property
    def engine(self) -> Any:
        return engine_for(self.connection)
