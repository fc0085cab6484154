"""The admin shows what is indexed; the index_library command is what writes it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from example_project.library.models import Entry


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    list_display = ["name", "kind", "summary"]
    list_filter = ["kind"]
    search_fields = ["name"]
    fields = ["name", "module", "kind", "signature", "summary", "doc", "vector"]
    readonly_fields = ["vector"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        return super().get_queryset(request).defer("embedding", "doc")

    @admin.display(description="embedding")
    def vector(self, entry: Entry) -> str:
        numbers = entry.embedding
        beginning = ", ".join(f"{number:.4f}" for number in numbers[:4])
        return f"[{beginning}, ...], {len(numbers)} dimensions"

    def has_add_permission(self, *args: Any) -> bool:
        return False

    def has_change_permission(self, *args: Any) -> bool:
        return False
