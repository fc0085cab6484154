"""A project's own queryset, with a Query class of its own."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.sql.query import Query

__all__ = ["TaggedItems"]


class TaggedQuery(Query):
    """Says in its text that it is there."""

    def get_initial_alias(self) -> Any:
        alias = super().get_initial_alias()
        if "tagged" not in self.annotations:
            self.add_annotation(Value("tagged"), "tagged")
        return alias


class TaggedItems(QuerySet):
    def __init__(self, model: Any = None, query: Any = None, **options: Any) -> None:
        super().__init__(model, query or TaggedQuery(model), **options)

    def tagged(self) -> TaggedItems:
        return self
