"""The search page."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from example_project.library.models import Entry
from example_project.library.search import Mode, entries_like, entries_matching, ranks_of

HITS = 20


class SearchForm(forms.Form):
    q = forms.CharField(
        label="What are you looking for?",
        max_length=2000,
        required=False,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "compress a file"}),
    )
    mode = forms.ChoiceField(
        label="Search by",
        choices=[(Mode.BOTH, "both"), (Mode.MEANING, "meaning"), (Mode.WORDS, "words")],
        widget=forms.RadioSelect,
    )

    def __init__(self, data: Any = None) -> None:
        # Links need not say what most people want.
        super().__init__({"mode": Mode.BOTH, **(data or {})})


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Entries that match ``q``."""
    form = SearchForm(request.GET.dict())
    is_valid = form.is_valid()
    query = form.cleaned_data["q"] if is_valid else ""
    mode = form.cleaned_data["mode"] if is_valid else Mode.BOTH
    hits = entries_matching(query, mode) if query else None
    return _page(request, hits, form=form, query=query, mode=mode)


@require_safe
def like(request: HttpRequest, name: str) -> HttpResponse:
    """Entries like the one of that name."""
    if "\0" in name:  # PostgreSQL and libSQL have no such text
        raise Http404
    entry = get_object_or_404(Entry, name=name)
    return _page(request, entries_like(entry), form=SearchForm(), entry=entry)


def _page(request: HttpRequest, hits: QuerySet[Entry] | None, **context: Any) -> HttpResponse:
    found = None if hits is None else [(hit, ranks_of(hit)) for hit in hits[:HITS]]
    # Asked only where there is nothing to show: the table may be empty.
    empty = not found and not Entry.objects.exists()
    return render(request, "library/search.html", {"hits": found, "empty": empty, **context})
