"""What ``embed()`` asks of an engine: whether rows have changed, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import NotSupportedError
from django.db.models import Field

from dorm_vector.engines.base.claims import Claims

__all__ = ["EngineEmbedding"]


class EngineEmbedding:
    """The part of an engine that is for filling vector fields."""

    connection: Any
    label: str

    #: What the column ``{a}`` holds, as text that is never NULL and tells any two contents.
    content_template: ClassVar[str] = ""

    def content(self, columns: Sequence[str]) -> str:
        """
        What columns hold, as one text, by the database itself.

        Two rows have the same one exactly if their columns hold the same: whatever a field makes of
        them, and whichever collation makes two texts equal.
        """
        if not self.content_template:
            raise NotSupportedError(
                f"{self.label} cannot compare what columns hold: its engine has no "
                "content_template."
            )
        return " || ',' || ".join(self.content_template.replace("{a}", each) for each in columns)

    def claims(self, field: Field) -> Claims:
        """What tells several processes that embed a field which rows are whose."""
        return Claims()

    def why_not_shared(self) -> str | None:
        """Why other processes cannot work on the database, a sentence; None where they can."""
        return None
