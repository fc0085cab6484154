"""The admin: entries can be added and changed, searched by words and by meaning, and compared."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from dorm_vector.admin import VectorAdmin
from example_project.library.embedding import embed
from example_project.library.models import Entry


@admin.register(Entry)
class EntryAdmin(VectorAdmin, admin.ModelAdmin):
    list_display = ["name", "kind", "summary", "embedding"]
    list_filter = ["kind"]
    search_fields = ["name"]
    fields = ["name", "module", "kind", "signature", "summary", "doc", "embedding"]

    def vector_search_embedder(self, text: str) -> Any:
        return embed([text])[0]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        return super().get_queryset(request).defer("doc")
