"""Vectors in Django's admin: abbreviated, with the nearest rows, and searched by similarity."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.sites import all_sites
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ORDER_VAR, SEARCH_VAR, ChangeList
from django.core import checks
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dorm_vector.display import brief
from dorm_vector.fields import AnyVectorField
from dorm_vector.methods import vector_field
from dorm_vector.search.nearest import nearest

# Of Django 6.1 and later.
FETCH_PEERS: Any = getattr(models, "FETCH_PEERS", None)

__all__ = ["VectorAdmin", "check_admin"]

# What the rows are annotated with.
DISTANCE = "vector_distance"
# The URL parameter that makes the search of a list one by similarity.
BY = "by"
# How many near duplicates a page lists by each vector.
MOST_PAIRS = 1000


class VectorAdmin:
    """
    A mixin for ModelAdmin and inlines; list it before them.

    Vectors in ``list_display``, ``readonly_fields`` and on view-only pages are
    abbreviated: ``[0.01, -0.2, ... 384]``. The page of a row shows the ``vector_nearest`` rows
    nearest to it by each of its vectors, with links and distances; 0 shows none.

    ``vector_search_embedder``, a callable that takes a text and returns a vector, adds a search by
    similarity to the list, over ``vector_search_field``, by default the first vector field. The
    action "find near duplicates" lists, for each selected row, those within
    ``vector_duplicate_distance`` of it.
    """

    vector_nearest: int = 5
    vector_search_embedder: Callable[[str], Any] | None = None
    vector_search_field: str | None = None
    vector_duplicate_distance: float = 0.05

    model: Any
    admin_site: Any
    actions: Any
    has_change_permission: Any
    has_view_permission: Any
    message_user: Any

    def __init__(self, model: type[Model], admin_site: Any) -> None:
        super().__init__(model, admin_site)  # type: ignore[call-arg]
        offered = isinstance(self, admin.ModelAdmin) and self.actions is not None
        if offered and vector_fields(model):
            self.actions = [*self.actions, find_near_duplicates]

    # Abbreviated vectors

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = [self._shown(name) for name in super().get_list_display(request)]  # type: ignore[misc]
        return [*shown, distance] if self._searched_by(request) else shown

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        links = super().get_list_display_links(request, list_display)  # type: ignore[misc]
        return links and [self._shown(name) for name in links]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        names = super().get_readonly_fields(request, obj)  # type: ignore[misc]
        panels = self._panels(request, obj)
        return [*(self._shown(name) for name in names), *panels]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_fields(request, obj)  # type: ignore[misc]
        # What it does not name comes from the form, and from the read-only fields.
        return [field for field in fields if not isinstance(field, Nearest)]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        readonly = super().get_readonly_fields(request, obj)  # type: ignore[misc]
        every = obj is not None and not self.has_change_permission(request, obj)
        shown = [
            (title, {**options, "fields": self._lines(options["fields"], readonly, every=every)})
            for title, options in fieldsets
        ]
        panels = self._panels(request, obj)
        return [*shown, (_("Nearest rows"), {"fields": panels})] if panels else shown

    def _lines(self, lines: Iterable[Any], readonly: Sequence[Any], *, every: bool) -> list[Any]:
        """The lines of a fieldset; one of them may hold several fields."""
        return [
            tuple(self._lines(line, readonly, every=every))
            if isinstance(line, list | tuple)
            else self._shown(line)
            if every or line in readonly
            else line
            for line in lines
        ]

    def _shown(self, name: str) -> Any:
        field = isinstance(name, str) and shown_in_short(self.model, name)
        return Brief(name, capfirst(field.verbose_name)) if field else name

    # Lists without vectors

    def get_changelist(self, request: HttpRequest, **kwargs: object) -> Any:
        return without_vectors(super().get_changelist(request, **kwargs))  # type: ignore[misc]

    def _unread(self, shown: Iterable[Any]) -> list[str]:
        """The names of the vectors that a list, which shows so many columns, need not read."""
        names = {getattr(column, "name", column) for column in shown}
        fields = self.model._meta.fields
        known = {"pk", "__str__", "action_checkbox", distance, *(field.name for field in fields)}
        # A method may read what is left out: row by row, unless Django reads it for all at once.
        if FETCH_PEERS is None and not names <= known:
            return []
        vectors = vector_fields(self.model)
        return [each.name for each in vectors if not (each.generated or each.name in names)]

    # The nearest rows

    def _panels(self, request: HttpRequest, obj: Model) -> list[Any]:
        # An inline is given its parent.
        if not isinstance(self, admin.ModelAdmin) or obj is None or self.vector_nearest < 1:
            return []
        return [Nearest(self, request, field) for field in vector_fields(self.model)]

    def _rows(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows that a user may see, without their vectors."""
        names = [field.name for field in vector_fields(self.model) if not field.generated]
        rows: QuerySet[Any] = self.get_queryset(request).defer(*names)  # type: ignore[attr-defined]
        return rows

    def _link(self, row: Any) -> Any:
        opts, site = row._meta, self.admin_site.name
        path = f"{site}:{opts.app_label}_{opts.model_name}_change"
        try:
            return format_html('<a href="{}">{}</a>', reverse(path, args=(quote(row.pk),)), row)
        except NoReverseMatch:  # the model is registered with another site
            return str(row)

    # Searching by similarity

    def get_search_fields(self, request: HttpRequest) -> Any:
        fields = super().get_search_fields(request)  # type: ignore[misc]
        # Without search fields there would be no search box.
        return fields or ([self._search_field()] if self.vector_search_embedder else [])

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)  # type: ignore[misc]
        both = self.vector_search_embedder and super().get_search_fields(request)  # type: ignore[misc]
        return [SearchBy, *filters] if both else filters

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> Any:
        if not self._searched_by(request, search_term):
            return super().get_search_results(request, queryset, search_term)  # type: ignore[misc]
        try:
            vector = self._embedder()(search_term)
            found = nearest(queryset, self._search_field(), vector, annotation=DISTANCE)
        except ValidationError as error:
            sentence = _("The embedder's vector of this text was refused: %s")
            self.message_user(request, sentence % " ".join(error.messages), messages.ERROR)
            return queryset.none(), False
        if ORDER_VAR in request.GET:  # somebody clicked on a column
            found = found.order_by(*queryset.query.order_by)
        return found, False

    def _embedder(self) -> Any:
        """The embedder: a function in the class body may not take ``self``."""
        embedder: Any = self.vector_search_embedder
        takes = inspect.signature(embedder).parameters
        return embedder if takes else embedder.__func__

    def _searched_by(self, request: HttpRequest, search_term: str | None = None) -> bool:
        """Whether the list is searched by similarity."""
        if self.vector_search_embedder is None:
            return False
        term = request.GET.get(SEARCH_VAR, "") if search_term is None else search_term
        words = super().get_search_fields(request)  # type: ignore[misc]
        # The list searches for no text that has a NUL, and says so.
        typed = term.strip() and "\0" not in term
        return bool(typed) and (not words or request.GET.get(BY) == "similarity")

    def _search_field(self) -> str:
        if self.vector_search_field:
            return self.vector_search_field
        return str(vector_fields(self.model)[0].name)


class Brief:
    """A column of a list, or a read-only field: an abbreviated vector."""

    def __init__(self, name: str, label: str) -> None:
        self.name = self.__name__ = name
        self.short_description = label

    def __call__(self, row: Any) -> str:
        return brief(getattr(row, self.name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Brief) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class Nearest:
    """The panel with the rows nearest to a row by one of its vectors."""

    def __init__(self, model_admin: Any, request: HttpRequest, field: Field) -> None:
        self.model_admin, self.request, self.field = model_admin, request, field
        self.__name__ = f"nearest_by_{field.name}"
        self.short_description = _("By %s") % field.verbose_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nearest) and other.field == self.field

    def __hash__(self) -> int:
        return hash(self.field)

    def __call__(self, row: Any) -> Any:
        found = list(self._found(row))
        if not found:
            return _("None.")
        lines = ((self.model_admin._link(one), f"{one.vector_distance:.4f}") for one in found)
        table = format_html_join("", "<tr><td>{}</td><td>{}</td></tr>", lines)
        head = format_html(
            '<tr><th scope="col">{}</th><th scope="col">{}</th></tr>', _("Row"), _("Distance")
        )
        # Rows may have long names without a space, and telephones a narrow window.
        return format_html(
            '<table class="nearest" style="overflow-wrap: anywhere">{}{}</table>', head, table
        )

    def _found(self, row: Any) -> Any:
        if getattr(row, self.field.name) is None:
            return []
        rows = self.model_admin._rows(self.request)
        count = self.model_admin.vector_nearest
        return nearest(rows, self.field.name, row, k=count, annotation=DISTANCE)


@admin.display(description=gettext_lazy("distance"))
def distance(row: Any) -> str:
    """A column of a list that is searched by similarity."""
    return f"{row.vector_distance:.4f}"


class SearchBy(admin.SimpleListFilter):
    """Whether the box above a list searches by words or by similarity."""

    title = gettext_lazy("search by")
    parameter_name = BY

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("similarity", _("similarity"))]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        every, *others = super().choices(changelist)
        yield {**every, "display": _("words")}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> Any:
        return queryset


class Pair(NamedTuple):
    """Two rows that are near each other by one field."""

    first: Any
    second: Any
    distance: float


@admin.action(description=gettext_lazy("Find near duplicates"), permissions=["view"])
def find_near_duplicates(
    model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse:
    """A page of the rows near the selected ones, by each of their vectors."""
    found = []
    for field in vector_fields(model_admin.model):
        pairs = _pairs(model_admin, request, queryset, field)
        # All rows of a large table may be selected.
        listed = list(islice(pairs, MOST_PAIRS))
        found.append({"field": field, "pairs": listed, "cut": next(pairs, None) is not None})
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Near duplicates"),
        "opts": model_admin.model._meta,
        "found": found,
        "most": model_admin.vector_duplicate_distance,
        "selected": queryset.count(),
    }
    return TemplateResponse(request, "admin/dorm_vector/near_duplicates.html", context)


def _pairs(
    model_admin: Any, request: HttpRequest, queryset: QuerySet[Any], field: Field
) -> Iterator[Pair]:
    rows, seen = model_admin._rows(request), set()
    most = model_admin.vector_duplicate_distance
    for row in queryset.order_by("pk").iterator():
        if getattr(row, field.name) is None:
            continue
        near = nearest(rows, field.name, row, max_distance=most, annotation=DISTANCE)
        for other in near[:100]:
            if frozenset((row.pk, other.pk)) not in seen:
                seen.add(frozenset((row.pk, other.pk)))
                link = model_admin._link
                yield Pair(link(row), link(other), other.vector_distance)


def check_admin(app_configs: Any = None, **kwargs: object) -> list[checks.CheckMessage]:
    """Point to VectorAdmin where an admin shows all the numbers of a vector."""
    return [
        checks.Warning(
            f"{type(model_admin).__name__} shows every number of the vector {name!r} in {place}.",
            hint="Inherit from dorm_vector.admin.VectorAdmin first: it abbreviates vectors.",
            obj=type(model_admin),
            id="dorm_vector.W110",
        )
        for site in all_sites
        for model, model_admin in site._registry.items()
        if not isinstance(model_admin, VectorAdmin)
        if app_configs is None or model._meta.app_config in app_configs
        for place in ("list_display", "readonly_fields")
        for name in getattr(model_admin, place)
        if isinstance(name, str) and shown_in_short(model, name)
    ]


@functools.cache
def without_vectors(base: type[ChangeList]) -> type[ChangeList]:
    """The class of a list that reads no vectors but those that it shows."""

    class VectorChangeList(base):  # type: ignore[misc,valid-type]
        def get_results(self, request: HttpRequest) -> None:
            super().get_results(request)
            rows: Any = vars(self)["result_list"]
            names = self.model_admin._unread([*self.list_display, *self.list_editable])
            if not names or not isinstance(rows, QuerySet):
                return
            rows = rows.defer(*names)
            self.result_list = rows if FETCH_PEERS is None else rows.fetch_mode(FETCH_PEERS)

    return VectorChangeList


def vector_fields(model: type[Model]) -> list[Any]:
    """The fields of a model that hold vectors, generated ones included."""
    return [field for field in model._meta.concrete_fields if vector_field(model, field.name)]


def shown_in_short(model: Any, name: Any) -> Any:
    """The field of that name if it holds a vector, or an array of them; None otherwise."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    of_vectors = isinstance(_innermost(field), AnyVectorField)
    return field if of_vectors else None


def _innermost(field: Any) -> Any:
    """The field of what a generated field computes, or of the elements of an array."""
    inner = getattr(field, "output_field", None) or getattr(field, "base_field", None)
    return _innermost(inner) if inner else field
