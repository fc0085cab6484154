"""What ``embed()`` asks of SQLite and libSQL."""

from __future__ import annotations

import os

from django.db.models import Field

from dorm_vector.engines.base.claims import Claims
from dorm_vector.engines.base.embedding import EngineEmbedding
from dorm_vector.engines.side_tables.claims import FileClaims

__all__ = ["SideTableEmbedding"]


class SideTableEmbedding(EngineEmbedding):
    """The part of an engine that serves ``embed()``."""

    # quote() stops at NUL in a text.
    content_template = (
        "CASE WHEN typeof({a}) = 'text' AND instr({a}, char(0)) > 0 "
        "THEN hex({a}) ELSE quote({a}) END"
    )

    def claims(self, field: Field) -> Claims:
        if self.why_not_shared():
            return Claims()
        return FileClaims(self._place(), f"{field.model._meta.db_table}.{field.column}")

    def why_not_shared(self) -> str | None:
        name = str(self.connection.settings_dict["NAME"])
        if ":memory:" not in name and "mode=memory" not in name:
            return None
        return f"The database {self.connection.alias!r} is in the memory of this process."

    def _place(self) -> str:
        """The name of the database in every process."""
        name = str(self.connection.settings_dict["NAME"])
        return name if "://" in name else os.path.realpath(name.removeprefix("file:"))
