"""What ``embed()`` asks of an engine: whether rows have changed, and who has claimed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import NotSupportedError
from django.db.models import Field

from dorm_vector.engines.base.claims import Claims

__all__ = ["EngineEmbedding"]


class EngineEmbedding:
    """The part of an engine that serves ``embed()``."""

    connection: Any
    label: str

    #: The content of the column ``{a}`` as text that is never NULL, and differs whenever it does.
    content_template: ClassVar[str] = ""

    def content(self, columns: Sequence[str]) -> str:
        """
        The contents of columns as one text, computed by the database.

        It is the same for two rows if and only if their columns hold the same, whatever fields make
        of them and whatever texts a collation takes for equal.
        """
        if not self.content_template:
            raise NotSupportedError(
                f"{self.label} cannot compare what columns hold: its engine has no "
                "content_template."
            )
        return " || ',' || ".join(self.content_template.replace("{a}", each) for each in columns)

    def claims(self, field: Field) -> Claims:
        """The claims by which several processes share the rows of a field."""
        return Claims()

    def why_not_shared(self) -> str | None:
        """Why other processes cannot work on the database, in one sentence; None if they can."""
        return None
