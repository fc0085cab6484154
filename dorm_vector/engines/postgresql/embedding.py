"""What ``embed()`` asks of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Field

from dorm_vector.engines.base.embedding import EngineEmbedding
from dorm_vector.engines.postgresql.claims import AdvisoryClaims

__all__ = ["PostgreSQLEmbedding"]


class PostgreSQLEmbedding(EngineEmbedding):
    """The part of the engine that serves ``embed()``."""

    def content(self, columns: Sequence[str]) -> str:
        # A row as text has all that its types write, NULL told from empty text.
        listed = ", ".join(columns)
        return f"encode(sha256(convert_to(ROW({listed})::text, 'UTF8')), 'hex')"

    def claims(self, field: Field) -> AdvisoryClaims:
        return AdvisoryClaims(self.connection, f"{field.model._meta.db_table}.{field.column}")
