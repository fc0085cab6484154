"""The search page, the page of an entry, and what is like it."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from example_project import databases
from example_project.library import neighbour_map
from example_project.library.documentation import url_of
from example_project.library.embedding import embed
from example_project.library.facets import facets_of
from example_project.library.forms import PageForm, SearchForm
from example_project.library.marking import excerpt, has_words, marked, stems_of
from example_project.library.models import Entry
from example_project.library.search import (
    HITS,
    LAST_PAGE,
    Mode,
    Ranks,
    entries_like,
    entries_matching,
    is_weak,
    ranks_of,
    searched,
)

ALIKE = 8


class Hit(NamedTuple):
    """An entry in a list, with what is shown of it; its vector is for the map."""

    number: int
    entry: Entry
    summary: SafeString
    excerpt: SafeString
    url: str
    ranks: Ranks | None
    vector: Any


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Entries that match ``q``, of a kind and a module if asked for."""
    form = SearchForm(request.GET.dict())
    is_valid = form.is_valid()
    asked = form.cleaned_data if is_valid else {}
    query, mode = asked.get("q", ""), asked.get("mode", Mode.BOTH)
    limits = {name: asked.get(name, "") for name in ("kind", "module")}
    context: dict[str, Any] = {
        "form": form,
        "query": query,
        "mode": mode,
        "is_limited": any(limits.values()),
    }
    if not query:
        return _page(request, None, context)
    context["wordless"] = not has_words(query)
    form.offer(facets_of(searched(query, mode), **limits))
    rows = entries_matching(query, mode, **limits)
    if not context["wordless"] and mode != Mode.WORDS:
        context["asked"] = embed([query])[0]
    if form.number == 1:
        context["weak"] = is_weak(query, mode, **limits)
    return _page(request, rows, context, number=form.number)


@require_safe
def entry(request: HttpRequest, name: str) -> HttpResponse:
    """One entry: its text, with the words of ``q`` marked, and what is like it."""
    found = _entry(name)
    form = SearchForm(request.GET.dict())
    query = form.cleaned_data["q"] if form.is_valid() else ""
    stems = stems_of(query)
    context = {
        "form": form,
        "query": query,
        "entry": found,
        "summary": marked(found.summary, stems),
        "doc": marked(found.doc, stems),
        "url": url_of(found),
        "asked": found.embedding,
    }
    return _page(request, entries_like(found), context, size=ALIKE, template="entry")


@require_safe
def like(request: HttpRequest, name: str) -> HttpResponse:
    """Entries like the one of that name."""
    found = _entry(name)
    number = PageForm(request.GET.dict()).number
    context = {"form": SearchForm(), "entry": found, "asked": found.embedding}
    return _page(request, entries_like(found), context, number=number)


def _entry(name: str) -> Entry:
    if "\0" in name:  # PostgreSQL and libSQL have no such text
        raise Http404
    return get_object_or_404(Entry, name=name)


def _page(
    request: HttpRequest,
    rows: QuerySet[Entry] | None,
    context: dict[str, Any],
    *,
    number: int = 1,
    size: int = HITS,
    template: str = "search",
) -> HttpResponse:
    start = (number - 1) * size
    # One more than is shown tells whether there is another page.
    found = [] if rows is None else [*rows[start : start + size + 1]]
    hits = _hits(found[:size], context.get("query", ""), start)
    context |= {
        "hits": hits,
        "map": _map(hits, context),
        "page": number,
        "before": number > 1 and number - 1,
        "after": len(found) > size and number < LAST_PAGE and number + 1,
        # Asked only where there is nothing to show: the table may be empty.
        "command": not hits and not Entry.objects.exists() and databases.command("demo"),
    }
    return render(request, f"library/{template}.html", context)


def _hits(found: list[Entry], query: str, start: int) -> list[Hit]:
    stems = stems_of(query)
    texts = {
        pk: (doc, vector)
        for pk, doc, vector in Entry.objects.filter(pk__in=[each.pk for each in found])
        .order_by()
        .values_list("pk", "doc", "embedding")
    }
    return [
        Hit(
            number,
            each,
            marked(each.summary, stems),
            marked(_more(each, texts[each.pk][0], stems), stems),
            url_of(each),
            ranks_of(each),
            texts[each.pk][1],
        )
        for number, each in enumerate(found, start=start + 1)
        if each.pk in texts  # deleted between the two queries
    ]


def _more(entry: Entry, doc: str, stems: frozenset[str]) -> str:
    """What of the text has the words, and does not stand in the summary."""
    _, found, rest = doc.partition(entry.summary)
    return excerpt(rest if found else doc, stems) if stems else ""


def _map(hits: list[Hit], context: dict[str, Any]) -> neighbour_map.Map | None:
    """The hits with what was searched for: a text, or an entry."""
    spots = [
        neighbour_map.Spot(hit.number, hit.entry.name, hit.vector)
        for hit in hits
        if hit.vector is not None
    ]
    if (asked := context.get("asked")) is not None:
        name = context["entry"].name if "entry" in context else "your text"
        spots.insert(0, neighbour_map.Spot(None, name, asked))
    return neighbour_map.draw(spots)
