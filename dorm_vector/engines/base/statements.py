"""
Statements of searches that are written once, and sent again for other vectors.

To write a statement takes Django longer than to send it. Searches differ by their vector most of
the time, and by nothing else that stands in the statement: their ``form`` is the same. A form is
all that a statement is made of. Queries with anything that ``form()`` does not know have none, and
are written each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple

from django.db.models.expressions import Col
from django.db.models.sql import Query
from django.db.models.sql.datastructures import BaseTable

__all__ = ["Statement", "Statements", "form", "statement_of"]

#: How many statements a connection keeps.
KEPT = 128

#: What a query may hold: what its form is made of, and what has no part in its statement.
KNOWN = frozenset(
    {
        "_annotation_select_cache",
        "_extra_select_cache",
        "_filtered_relations",
        "alias_cols",
        "alias_map",
        "alias_refcount",
        "annotation_select_mask",
        "annotations",
        "base_table",
        "default_cols",
        "deferred_loading",
        "distinct",
        "explain_info",
        "external_aliases",
        "extra",
        "extra_order_by",
        "extra_select_mask",
        "filter_is_sticky",
        "group_by",
        "high_mark",
        "low_mark",
        "model",
        "order_by",
        "plan",
        "search",
        "select",
        "select_for_update",
        "select_related",
        "selected",
        "subquery",
        "table_map",
        "used_aliases",
        "values_select",
        "where",
    }
)
#: What it must not hold.
ABSENT = (
    "_filtered_relations",
    "distinct",
    "explain_info",
    "external_aliases",
    "extra",
    "extra_order_by",
    "group_by",
    "plan",
    "select_for_update",
    "select_related",
    "subquery",
)
#: What makes a search another one, which is written each time.
OTHERWISE = ("exact", "members", "oversample", "params", "recall")
#: What Django reads of a compiler that has written a statement.
WRITTEN = ("select", "klass_info", "annotation_col_map", "col_count", "has_extra_select")


class Statement(NamedTuple):
    """A statement for the rows of a slice, and how they are read."""

    sql: str
    #: How many parameters it has, each of them the vector.
    vectors: int
    #: What the compiler knew that wrote it.
    written: dict[str, Any]
    #: The objects that its form names by their ids, so that no others get these.
    holds: tuple[Any, ...]
    #: How many rows it reads before those that are wanted.
    before: int
    #: How many rows there have to be.
    least: int
    #: Whether the last column is the number of rows that there are.
    is_counted: bool
    #: The place of the distance, or None.
    column: int | None
    #: The slice of the first rows of a block that it sends, or None; see ``Plan``.
    first: tuple[int, int] | None
    #: How these are sorted, and how many columns are sent behind those that were asked for; see
    #: ``first_rows``.
    sorted_by: tuple[int, int | None]
    unasked: int


class Statements:
    """The statements that a connection has written last, by form."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Statement] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, form: Hashable) -> Statement | None:
        return self._kept.get(form)

    def keep(self, form: Hashable, statement: Statement) -> None:
        self._kept[form] = statement
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def drop(self, form: Hashable) -> None:
        self._kept.pop(form, None)


def form(compiler: Any, query: Any, search: Any) -> Hashable | None:
    """All that the statement of a search is made of but its vector, or None for another query."""
    held = vars(query)
    if not held.keys() <= KNOWN or any(map(held.get, ABSENT)):
        return None
    if query.composed_with is not Query or not _is_djangos(compiler.composed_with):
        return None
    if any(getattr(search, name) for name in OTHERWISE):
        return None
    # The search is in force: its distance is one of the annotations, and so on.
    one_each = len(query.annotations) == len(query.where.children) == len(query.alias_map) == 1
    if not one_each or [type(part).__name__ for part in query.order_by] != ["Order", "Key"]:
        return None
    (table,), distance = query.alias_map.values(), query.annotations[search.annotation]
    vector = query.query_vector
    if vector is None or type(table) is not BaseTable or not _is_plain(distance):
        return None
    selected = _selected(query, table.table_alias or table.table_name)
    if selected is None:
        return None
    return (
        query.model,
        # Fields and indexes compare by what they are made of, and take long.
        id(query.model._meta.concrete_fields),
        *map(id, search.indexes),
        table.table_name,
        table.table_alias,
        query.low_mark,
        query.high_mark,
        type(distance),
        distance.get_source_expressions()[0].target,
        vector.kind,
        vector.dimensions,
        search.annotation,
        search.max_distance is None,
        *selected,
    )


def _is_djangos(compiler_class: type) -> bool:
    return compiler_class.__module__.startswith("django.db.")


def _is_plain(distance: Any) -> bool:
    return (
        type(distance).__module__.startswith("dorm_vector.")
        and not distance.extra
        and distance.reduction is None
    )


def _selected(query: Any, table: str) -> tuple[Any, ...] | None:
    """What is selected, by parts that can be compared, or None where there is more to it."""
    columns = query.select
    if not all(isinstance(column, Col) and column.alias == table for column in columns):
        return None
    listed = None if query.selected is None else tuple(query.selected.items())
    if listed and not all(isinstance(place, int | str) for _, place in listed):
        return None
    names, is_deferred = query.deferred_loading
    mask = query.annotation_select_mask
    return (
        query.default_cols,
        frozenset(names),
        is_deferred,
        tuple([column.target for column in columns]),
        listed,
        None if mask is None else frozenset(mask),
    )


def statement_of(compiler: Any, vector: Any, search: Any, **read: Any) -> Statement | None:
    """The statement that a compiler has written, unless it has other parameters than the vector."""
    sql, params = compiler.written
    if compiler.has_extra_select or any(param is not vector for param in params):
        return None
    known = {name: getattr(compiler, name) for name in WRITTEN}
    holds = (compiler.query.model._meta.concrete_fields, search.indexes)
    return Statement(sql, len(params), known, holds, **read)
