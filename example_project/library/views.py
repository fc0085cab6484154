"""The search page."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from example_project.library.models import Entry
from example_project.library.search import entries_like, entries_matching

HITS = 20


class SearchForm(forms.Form):
    q = forms.CharField(
        label="What are you looking for?",
        max_length=2000,
        required=False,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "compress a file"}),
    )


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Entries that match ``q``."""
    form = SearchForm(request.GET)
    query = form.cleaned_data["q"] if form.is_valid() else ""
    hits = entries_matching(query) if query else None
    return _page(request, hits, form=form, query=query)


@require_safe
def like(request: HttpRequest, name: str) -> HttpResponse:
    """Entries like the one of that name."""
    if "\0" in name:  # PostgreSQL and libSQL have no such text
        raise Http404
    entry = get_object_or_404(Entry, name=name)
    return _page(request, entries_like(entry), form=SearchForm(), entry=entry)


def _page(request: HttpRequest, hits: QuerySet[Entry] | None, **context: Any) -> HttpResponse:
    found = None if hits is None else [*hits[:HITS]]
    # Asked only where there is nothing to show: the table may be empty.
    empty = not found and not Entry.objects.exists()
    return render(request, "library/search.html", {"hits": found, "empty": empty, **context})
