"""The search for words as an object, and its condition, join and rank in a query."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldError
from django.db.models import FloatField
from django.db.models.expressions import Expression
from django.db.models.lookups import Lookup
from django.db.models.sql.constants import INNER, LOUTER
from django.db.models.sql.subqueries import UpdateQuery

from dorm_vector.engines import engine_for
from dorm_vector.search.words import TextQuery
from dorm_vector.text_indexes import WEIGHTS, TextIndex

__all__ = ["JoinedColumn", "Matches", "TextJoin", "TextRank", "TextSearch", "key_name"]


@dataclasses.dataclass(frozen=True, eq=False)
class TextSearch:
    """What ``matching()`` was asked for: one object for each call, compared by identity."""

    #: The model whose table has the fields.
    model: Any
    #: The names of the fields, in the order of the index.
    fields: tuple[str, ...]
    query: TextQuery
    #: Whether any of the words suffices.
    is_any: bool
    #: The index that serves the search, if one is declared.
    index: TextIndex | None = None

    def __deepcopy__(self, memo: Any) -> TextSearch:
        return self

    @property
    def language(self) -> str:
        return self.index.language if self.index else "english"

    @property
    def indexed(self) -> tuple[str, ...]:
        """The names of the fields of the index, or of those that are searched without one."""
        return tuple(self.index.fields) if self.index else self.fields

    @property
    def numbers(self) -> list[float]:
        """The weight of a word in each field of the index."""
        return [self.number(name) for name in self.indexed]

    @property
    def of_parts(self) -> bool:
        """Whether parts of words are found."""
        return self.index is not None and self.index.tokenize == "trigram"

    def number(self, field: str) -> float:
        """The weight of a word in a field."""
        return WEIGHTS[(self.index and self.index.weight_of(field)) or "A"]

    @property
    def is_whole(self) -> bool:
        """Whether all fields of the index are searched."""
        return self.index is not None and set(self.fields) == set(self.index.fields)


class JoinedColumn(Expression):
    """A column of the join."""

    output_field = FloatField()

    def __init__(self, alias: str, name: str) -> None:
        super().__init__()
        self.alias, self.name = alias, name

    def relabeled_clone(self, relabels: Any) -> JoinedColumn:
        return JoinedColumn(relabels.get(self.alias, self.alias), self.name)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if isinstance(compiler.query, UpdateQuery) and _assigns(compiler.query, self.alias):
            # Django moves the joins of an UPDATE into a subquery, but not what is assigned.
            raise FieldError(
                "update() cannot assign the rank of matching(), which is joined to the rows: read "
                "the rows, and store their ranks by bulk_update()."
            )
        return f"{connection.ops.quote_name(self.alias)}.{self.name}", []


def _assigns(query: Any, alias: str) -> bool:
    """Whether an UPDATE assigns something computed from a joined column."""
    values = [value for _, _, value in query.values if hasattr(value, "resolve_expression")]
    parts = [part for value in values for part in _parts(value)]
    named = [query.annotations.get(getattr(part, "name", None), part) for part in parts]
    inner = [part for each in named for part in _parts(each)]
    return any(isinstance(part, JoinedColumn) and part.alias == alias for part in inner)


def _parts(expression: Any) -> list[Any]:
    return list(expression.flatten()) if hasattr(expression, "flatten") else [expression]


class TextRank(Expression):
    """How well a row matches; NULL if it does not, on databases that rank by the index."""

    output_field = FloatField()

    def __init__(self, search: TextSearch, texts: Sequence[Any], key: Any, rank: Any) -> None:
        super().__init__()
        self.search = None  # of nearest(), which this is not
        self.text_search = search
        self.texts, self.key, self.rank = list(texts), key, rank

    def get_source_expressions(self) -> list[Any]:
        return [*self.texts, self.key, self.rank]

    def set_source_expressions(self, expressions: Any) -> None:
        *self.texts, self.key, self.rank = expressions

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return engine_for(connection).text_rank(compiler, self)

    def matches_sql(self, compiler: Any, connection: Any) -> Any:
        """The condition that the row matches."""
        return engine_for(connection).text_condition(compiler, self)


class Matches(Lookup):
    """Whether a row has the words of a search."""

    prepare_rhs = False

    def __init__(self, rank: Any, search: TextSearch) -> None:
        super().__init__(rank, None)
        self.text_search = search

    def get_source_expressions(self) -> list[Any]:
        return [self.lhs]

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if settings.DEBUG:
            self._warn_of_no_index(connection)
        sql, params = self.lhs.matches_sql(compiler, connection)
        return sql, tuple(params)

    def _warn_of_no_index(self, connection: Any) -> None:
        from dorm_vector.search.advice import warn

        search = self.text_search
        if search.index is None and engine_for(connection).computes_text:
            warn(
                f"No TextIndex serves the search for words of {search.model._meta.label}, and "
                f"every row is read: declare TextIndex(fields={list(search.fields)!r}, name=...)."
            )


class TextJoin:
    """The join of a table with the keys of the rows that match, and their ranks."""

    filtered_relation = None
    #: So that Django makes it an outer join if the condition is part of an OR (a | b).
    nullable = True

    def __init__(
        self,
        search: TextSearch,
        parent_alias: str,
        columns: tuple[str, ...],
        table_alias: str = "",
        join_type: str = INNER,
    ) -> None:
        self.text_search = search
        self.table_name = search.index.name if search.index else "dorm_text"
        self.parent_alias, self.columns = parent_alias, columns
        self.table_alias, self.join_type = table_alias, join_type

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        rows, params = engine_for(connection).text_join(self.text_search)
        if not rows:
            return "", []
        quote = connection.ops.quote_name
        parent, alias = quote(self.parent_alias), quote(self.table_alias)
        on = " AND ".join(
            f"{parent}.{quote(column)} = {alias}.{key_name(place)}"
            for place, column in enumerate(self.columns)
        )
        return f"{self.join_type} ({rows}) {alias} ON ({on})", list(params)

    def relabeled_clone(self, change_map: Any) -> TextJoin:
        parent = change_map.get(self.parent_alias, self.parent_alias)
        alias = change_map.get(self.table_alias, self.table_alias)
        return self._changed(parent_alias=parent, table_alias=alias)

    def promote(self) -> TextJoin:
        return self._changed(join_type=LOUTER)

    def demote(self) -> TextJoin:
        return self._changed(join_type=INNER)

    def _changed(self, **changes: Any) -> TextJoin:
        given = {
            "parent_alias": self.parent_alias,
            "columns": self.columns,
            "table_alias": self.table_alias,
            "join_type": self.join_type,
        }
        return TextJoin(self.text_search, **{**given, **changes})

    # Django joins equal ones once.

    @property
    def _identity(self) -> Any:
        return TextJoin, self.text_search, self.parent_alias, self.columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextJoin) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def key_name(place: int) -> str:
    """The name of a column of the key in the join."""
    return f"dorm_key{place}"
