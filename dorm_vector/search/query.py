"""
The search as an object that a query holds, and the query and compiler that handle it.

A ``Search`` is in force exactly while its own ``Order`` is the first of the query's order and its
own ``Near`` is among the conditions. The classes are composed with those of the queryset, so that
a project's own Query keeps its part.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any, Literal

from django.db.models import F, OrderBy
from django.db.models.expressions import ColPairs, Ref
from django.db.models.lookups import Lookup
from django.db.models.sql import Query
from django.db.models.sql.constants import MULTI
from django.db.models.sql.where import AND

from dorm_vector.engines import engine_for
from dorm_vector.expressions import VectorValue
from dorm_vector.search.blocks import BlockCompiler
from dorm_vector.sql import Plan

__all__ = ["Key", "KeyOfDistinct", "Named", "Near", "Order", "OtherRow", "Search", "searching"]


@dataclasses.dataclass(frozen=True, eq=False)
class Search:
    """What ``nearest()`` was asked for: one object for each call, compared by identity."""

    #: The name of the annotation with the distance.
    annotation: str
    #: The declared indexes that serve the metric.
    indexes: tuple[Any, ...]
    #: Search parameters that the caller gave.
    params: dict[str, Any]
    exact: bool
    max_distance: float | None = None
    #: How many candidates an index has to find for each row; None for its default.
    oversample: int | None = None
    #: "high" if the rows are worth more time than an index takes by itself.
    recall: Literal["high"] | None = None
    #: The search for the rows that hold the vectors, if a row has many of them.
    members: Any = None

    def __deepcopy__(self, memo: Any) -> Search:
        return self


class Order(OrderBy):
    """The order by the distance of a search."""

    #: It contains nothing but a name; see ``misuse``.
    is_settled = True

    def __init__(self, search: Search, columns_of_key: int = 1) -> None:
        name: Any = F if columns_of_key == 1 else Named
        # Undefined distances sort last on every database.
        super().__init__(name(search.annotation), nulls_last=True)
        self.search = search


class Named:
    """
    A selected annotation by its name.

    Django would order by its position among the columns, which it miscounts after a composite
    primary key.
    """

    contains_aggregate = False

    def __init__(self, name: str) -> None:
        self.name = name

    def resolve_expression(self, query: Any = None, *args: Any, **kwargs: Any) -> Any:
        resolved = F(self.name).resolve_expression(query, *args, **kwargs)
        # With distinct() Django selects what it orders by, and a name means nothing there.
        named = self.name in query.annotation_select and not query.distinct
        return Ref(self.name, resolved) if named else resolved


class Key(str):
    """The primary key as the tie-breaker of a search."""

    __slots__ = ()


class KeyOfDistinct(Key):
    """The tie-breaker of a search for so many distinct rows, none of which merge later."""

    __slots__ = ()


class Near(Lookup):
    """The condition that a distance is a number, and no greater than the search allows."""

    prepare_rhs = False

    def __init__(self, distance: Any, search: Search) -> None:
        super().__init__(distance, search.max_distance)
        self.search = search

    @property
    def is_settled(self) -> bool:
        return getattr(self.lhs, "is_settled", False)

    def get_source_expressions(self) -> list[Any]:
        return [self.lhs]

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        sql, params = self.lhs.defined_sql(compiler, connection)
        if self.rhs is None or is_planned(compiler.query, self.search):
            return sql, tuple(params)
        distance, distance_params = compiler.compile(self.lhs)
        return f"({sql} AND {distance} <= %s)", (*params, *distance_params, self.rhs)


class OtherRow(Lookup):
    """The condition that a row is not that of the instance which a search starts from."""

    prepare_rhs = False

    def __init__(self, key: object, value: object, search: Search) -> None:
        super().__init__(key, value)
        self.search = search

    def get_source_expressions(self) -> list[Any]:
        return [self.lhs]

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        same = self.lhs.output_field.get_lookup("exact")(self.lhs, self.rhs)
        sql, params = compiler.compile(same)
        return f"NOT ({sql})", tuple(params)


def is_planned(query: Query, search: Any) -> bool:
    """Whether a query is written such that an index may serve the search."""
    plan = getattr(query, "plan", None)
    return plan is not None and plan.search is not None and plan.search is search


class SearchQuery(Query):
    """The part of a query that holds a search."""

    search: Search | None = None
    #: Set on the clones that make up a search at top level.
    plan: Plan | None = None
    #: The class that this one is composed with.
    composed_with: type[Query]

    @property
    def search_in_force(self) -> Search | None:
        """The search, unless its order or its condition was removed from the query."""
        search = self.search
        if search is None or not self._orders_by(search) or self.combinator:
            return None
        if self.where.connector != AND or self.where.negated:
            return None
        owned = (isinstance(c, Near) and c.search is search for c in self.where.children)
        return search if any(owned) else None

    def _orders_by(self, search: Search) -> bool:
        first = next(iter(self.order_by), None)
        distance = self.annotations.get(search.annotation)
        return (
            getattr(first, "search", None) is search
            and getattr(distance, "search", None) is search
            and self.standard_ordering
            and not self.extra_order_by
        )

    @property
    def left_out(self) -> int:
        """How many rows that an index finds the search leaves out: the one it starts from."""
        own = (child for child in self.where.children if is_own(child, self.search))
        return sum(isinstance(condition, OtherRow) for condition in own)

    @property
    def query_vector(self) -> VectorValue | None:
        """The vector to search for, if it is a value and the field is the table's own."""
        search = self.search
        if search is None:
            return None
        operands = self.annotations[search.annotation].get_source_expressions()
        if len(operands) != 2 or getattr(operands[0], "alias", None) != self.get_initial_alias():
            return None
        vector = operands[1]
        return vector if isinstance(vector, VectorValue) and vector.value is not None else None

    @property
    def is_filtered(self) -> bool:
        """Whether rows are left out for any reason besides the search's own."""
        return not all(is_own(child, self.search) for child in self.where.children)

    def get_compiler(
        self, using: str | None = None, connection: Any = None, elide_empty: bool = True
    ) -> Any:
        if self._key_would_group:
            return self._without_key().get_compiler(using, connection, elide_empty)
        compiler = super().get_compiler(using, connection, elide_empty)
        # A query inside another one is compiled for the connection of that.
        if connection is None and not self.subquery:
            return composed_compiler(compiler, SearchCompiler)
        if self._orders_by_outer_column(compiler.connection):
            return composed_compiler(compiler, WrappedCompiler)
        return compiler

    def _orders_by_outer_column(self, connection: Any) -> bool:
        """Whether the order refers to the query around this one, where a database cannot do so."""
        search, first = self.search, next(iter(self.order_by), None)
        if search is None or self.combinator:
            return False
        is_first = getattr(first, "search", None) is search
        if not is_first or search.annotation in self.annotation_select:  # sorted by its place
            return False
        if engine_for(connection).sorts_by_outer_columns:
            return False
        distance = self.annotations[search.annotation]
        columns = self._gen_cols([distance], include_external=True)  # type: ignore[attr-defined]
        return any(column.alias not in self.alias_map for column in columns)

    def with_distance(self) -> Any:
        """The query with the distance as its last column, and each column by itself."""
        query, name = self.clone(), self.search.annotation  # type: ignore[union-attr]
        query.append_annotation_mask([name])
        if any(isinstance(column, ColPairs) for column in query.select):
            columns = (c.get_cols() if isinstance(c, ColPairs) else [c] for c in query.select)
            query.select, query.selected = tuple(itertools.chain(*columns)), None
        elif query.selected:
            query.selected = {**query.selected, name: name}
        return query

    @property
    def _key_would_group(self) -> bool:
        """Whether ordering by the key would split rows that are one row of the result."""
        key = next((part for part in self.order_by if isinstance(part, Key)), None)
        if key is None:
            return False
        if isinstance(self.group_by, tuple) and not self._have_key(self.group_by):
            return True
        merges = self.distinct and not isinstance(key, KeyOfDistinct)
        return merges and not self.default_cols and not self._have_key(self.select)

    def _have_key(self, expressions: Any) -> bool:
        """Whether expressions include all columns of the primary key."""
        columns = (part for each in expressions for part in getattr(each, "get_cols", list)())
        targets = {getattr(each, "target", None) for each in (*expressions, *columns)}
        return targets.issuperset(self.get_meta().pk_fields)

    def _without_key(self) -> Any:
        """The query with its selected columns as the tie-breaker."""
        query = self.clone()
        others = (
            F(name)
            for name, expression in self.annotation_select.items()
            if not expression.contains_aggregate and getattr(expression, "search", None) is None
        )
        kept = [part for part in self.order_by if not isinstance(part, Key)]
        selected: Any = self.select
        query.order_by = (*kept, *selected, *others)
        return query

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (self.composed_with,), vars(self)


def is_own(condition: Any, search: Search | None) -> bool:
    """Whether a condition belongs to that search."""
    return search is not None and getattr(condition, "search", None) is search


class SearchCompiler(BlockCompiler):
    """The part of a compiler that passes a search at top level to the engine."""

    query: Any
    connection: Any
    #: The class that this one is composed with.
    composed_with: type
    #: The statement that was written last for an index, and its parameters.
    written: Any = None
    #: Whether it is sent as it is.
    is_written: bool = False

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_written:
            return self.written
        query = self.query
        search = getattr(query, "search_in_force", None)
        if search is not None and query.plan is None:  # shown, not run
            self.query = engine_for(self.connection).written(query, search)
        try:
            sql, params = super().as_sql(*args, **kwargs)  # type: ignore[misc]
        finally:
            self.query = query
        self.written = self._sliced(sql, query.plan), params
        return self.written

    def execute_sql(self, result_type: str = MULTI, *args: object, **kwargs: object) -> Any:
        execute = functools.partial(
            super().execute_sql,  # type: ignore[misc]
            result_type,
            *args,
            **kwargs,
        )
        query = self.query
        for join in query.alias_map.values():
            if text_search := getattr(join, "text_search", None):
                engine_for(self.connection).check_text(text_search)
        search = getattr(query, "search_in_force", None)
        if result_type != MULTI or search is None or query.plan is not None:
            return execute()
        return engine_for(self.connection).run_search(self, search, execute)


class WrappedCompiler:
    """The part of a compiler that selects from a query that has the distance as a column."""

    query: Any
    connection: Any
    composed_with: type

    def as_sql(self, with_limits: bool = True, with_col_aliases: bool = False) -> Any:
        query, name = self.query, self.query.search.annotation
        self.query = query.with_distance()
        try:
            sql, params = super().as_sql(with_limits, with_col_aliases=True)  # type: ignore[misc]
        finally:
            self.query = query
        quote = self.connection.ops.quote_name
        aliases = [alias for _, _, alias in self.select if alias != name]  # type: ignore[attr-defined]
        columns = ", ".join(map(quote, aliases))
        return f"SELECT {columns} FROM ({sql}) AS {quote('nearest')}", params  # noqa: S608 - quoted


def composed_compiler(compiler: Any, part: type) -> Any:
    """A compiler that has a part of ours besides its own."""
    kind: Any = composed_class(type(compiler), part)  # type: ignore[arg-type]
    composed: Any = object.__new__(kind)
    vars(composed).update(vars(compiler))
    return composed


@functools.cache
def searching(base: type[Query]) -> type[SearchQuery]:
    """The class of a query that searches, composed with the queryset's own."""
    if issubclass(base, SearchQuery):
        return base
    return type(f"Search{base.__name__}", (SearchQuery, base), {"composed_with": base})


@functools.cache
def composed_class(base: type, part: type) -> type:
    """A compiler class composed with a part of ours."""
    if issubclass(base, part):
        return base
    return type(base.__name__, (part, base), {"composed_with": base})


def _rebuilt(base: type[Query]) -> SearchQuery:
    composed = searching(base)  # type: ignore[arg-type]
    return composed.__new__(composed)
