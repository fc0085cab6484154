"""``matching()``: the rows that have the words that a person typed, best first."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any, TypedDict, TypeVar, Unpack, overload

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import connections
from django.db.models import F, FloatField, Manager, Model, OrderBy, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Expression
from django.db.models.lookups import Lookup
from django.db.models.query import RawQuerySet
from django.db.models.sql.constants import INNER, LOUTER
from django.utils.functional import Promise

from dorm_vector.engines import engine_for
from dorm_vector.search.query import Key, Named, searching
from dorm_vector.search.stop_words import STOP_WORDS
from dorm_vector.search.words import TextQuery, parse
from dorm_vector.text_indexes import WEIGHTS, TextIndex, declared_text_indexes, text_field
from dorm_vector.types import Found, Manages, Rows, Text
from dorm_vector.values import short

__all__ = ["Matches", "TextJoin", "TextRank", "TextSearch", "matching"]

M = TypeVar("M", bound=Model)


class TextOptions(TypedDict, total=False):
    """The keywords of a search for words."""

    fields: Sequence[str] | None
    match: str
    k: int | None
    annotation: str


@overload
def matching(queryset: Rows, text: Text | None, **options: Unpack[TextOptions]) -> Rows: ...


@overload
def matching(
    queryset: Manages[Found], text: Text | None, **options: Unpack[TextOptions]
) -> Found: ...


@overload
def matching(
    queryset: type[M], text: Text | None, **options: Unpack[TextOptions]
) -> QuerySet[M]: ...


def matching(
    queryset: QuerySet[Any, Any] | Manages[QuerySet[Any, Any]] | type[Model],
    text: Text | None,
    *,
    fields: Sequence[str] | None = None,
    match: str = "all",
    k: int | None = None,
    annotation: str = "rank",
) -> QuerySet[Any, Any]:
    """
    The rows that have the words of ``text``, annotated with their rank, best first.

    ``queryset`` may be a model or a manager as well. ``text`` is what a person types: words,
    ``"a phrase"``, ``-excluded``, ``or`` between alternatives. No text is refused; where it has no
    words but those that are excluded, and for None, there are no rows. ``match="any"`` finds rows
    with any of the words: those with more, and rarer ones, come first. ``fields`` are the names of
    fields of the model, by default those of its first TextIndex. ``k`` slices the result, and
    ``annotation`` names what the rows are annotated with.

    A greater rank is better: ``ts_rank_cd`` on PostgreSQL, BM25 elsewhere; equal ones are ordered
    by primary key. On PostgreSQL words are found without a TextIndex too, in every row.

    Raises FieldError for a field that holds no text or is another model's, and where the database
    needs a TextIndex that the model does not declare; ValueError for any other ``match``, ``k`` or
    ``fields``, and for an ``annotation`` that is the name of a field or of another annotation;
    TypeError for a ``text`` that is none.
    """
    rows = _queryset(queryset)
    _check(text, match, k)
    _check_annotation(rows, annotation)
    search = _search(rows, "" if text is None else str(text), fields, match)
    made = _searching(rows, search, annotation)
    if not search.query.alternatives:
        made = made.none()
    return made if k is None else made[: int(k)]


@dataclasses.dataclass(frozen=True, eq=False)
class TextSearch:
    """What ``matching()`` was asked: one object for each call, which is compared by identity."""

    #: The model whose table has the fields.
    model: Any
    #: The names of the fields, in the order of the index.
    fields: tuple[str, ...]
    query: TextQuery
    #: Whether any of the words is enough.
    is_any: bool
    #: The index that serves the search, where one is declared.
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
        """What a word of each field of the index counts."""
        return [self.number(name) for name in self.indexed]

    @property
    def of_parts(self) -> bool:
        """Whether parts of words are found."""
        return self.index is not None and self.index.tokenize == "trigram"

    def number(self, field: str) -> float:
        """What a word of a field counts."""
        return WEIGHTS[(self.index and self.index.weight_of(field)) or "A"]

    @property
    def is_whole(self) -> bool:
        """Whether all fields of the index are searched."""
        return self.index is not None and set(self.fields) == set(self.index.fields)


class JoinedColumn(Expression):
    """A column of what is joined."""

    output_field = FloatField()

    def __init__(self, alias: str, name: str) -> None:
        super().__init__()
        self.alias, self.name = alias, name

    def relabeled_clone(self, relabels: Any) -> JoinedColumn:
        return JoinedColumn(relabels.get(self.alias, self.alias), self.name)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return f"{connection.ops.quote_name(self.alias)}.{self.name}", []


class TextRank(Expression):
    """How well a row matches; NULL where it does not, on databases that have indexed rows only."""

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
    """What a query joins to the rows of a table: the keys of those that match, and their ranks."""

    filtered_relation = None
    #: So that Django makes it an outer join where the condition is one of several (a | b).
    nullable = True

    def __init__(
        self,
        search: TextSearch,
        parent_alias: str,
        columns: tuple[str, ...],
        table_alias: str = "",
        join_type: str = INNER,
    ) -> None:
        self.search = search
        self.table_name = search.index.name if search.index else "dorm_text"
        self.parent_alias, self.columns = parent_alias, columns
        self.table_alias, self.join_type = table_alias, join_type

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        rows, params = engine_for(connection).text_join(self.search)
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
        return TextJoin(self.search, **{**given, **changes})

    # Django joins what is equal once.

    @property
    def _identity(self) -> Any:
        return TextJoin, self.search, self.parent_alias, self.columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextJoin) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def key_name(place: int) -> str:
    """The name of a column of the key among what is joined."""
    return f"dorm_key{place}"


def _queryset(given: Any) -> QuerySet[Any]:
    if isinstance(given, QuerySet):
        return given
    if isinstance(given, Manager):
        return given.all()
    if isinstance(given, type) and issubclass(given, Model):
        return given._default_manager.all()
    if isinstance(given, RawQuerySet):
        raise TypeError(
            "matching() cannot search a RawQuerySet, which is SQL already: give it a queryset, and "
            "the conditions as filter()."
        )
    raise TypeError(f"matching() takes a queryset, a manager or a model, not {given!r}.")


def _check(text: Any, match: Any, k: Any) -> None:
    if text is not None and not isinstance(text, str | Promise):
        raise TypeError(f"matching() takes the text to search for, not {short(text)}.")
    if match not in ("all", "any"):
        raise ValueError(f"matching() takes match of 'all' or 'any', not {short(match)}.")
    is_int = isinstance(k, numbers.Integral) and not isinstance(k, bool)
    if k is not None and (not is_int or k < 0):
        raise ValueError(f"matching() takes k of 0 or more rows, not {short(k)}.")


def _check_annotation(rows: QuerySet[Any], name: str) -> None:
    there = rows.query.annotations.get(name)
    if there is not None and not isinstance(there, TextRank):
        raise ValueError(
            f"matching() would annotate its rows with {name!r}, which they are annotated with "
            "already: give another name as annotation=."
        )
    try:
        rows.model._meta.get_field(name)
    except FieldDoesNotExist:
        return
    raise ValueError(
        f"matching() would annotate its rows with {name!r}, which is a field of "
        f"{rows.model._meta.label}: give another name as annotation=."
    )


def _search(rows: QuerySet[Any], text: str, fields: Sequence[str] | None, match: str) -> TextSearch:
    names = None if fields is None else _names(rows.model, fields)
    model, index = _index(rows.model, names)
    if names is None:
        names = list(index.fields) if index else _all_text(rows.model)
    elif index:
        names = [name for name in index.fields if name in names]
    engine = engine_for(connections[rows.db])
    if index is None and not engine.computes_text:
        raise FieldError(engine.why_no_text(model, names))
    return TextSearch(model, tuple(names), _parsed(text, index), match == "any", index)


def _parsed(text: str, index: TextIndex | None) -> TextQuery:
    if index and index.tokenize:
        return parse(text, split=False)
    language = index.language if index else "english"
    return parse(text).without(STOP_WORDS.get(language, frozenset()))


def _names(model: Any, fields: Sequence[str]) -> list[str]:
    if isinstance(fields, str) or not fields:
        raise ValueError(f"matching() takes fields as names in a list, not {short(fields)}.")
    for name in fields:
        if LOOKUP_SEP in name:
            raise FieldError(
                f"matching() searches the fields of one table, and {name!r} crosses a relation: "
                "search the other model, and filter by its rows, filter(relation__in=matching())."
            )
        _check_field(model, name)
    return list(fields)


def _check_field(model: Any, name: str) -> None:
    try:
        kind = type(model._meta.get_field(name)).__name__
    except FieldDoesNotExist:
        known = ", ".join(map(repr, _all_text(model)))
        raise FieldError(
            f"{model._meta.label} has no field {name!r}; its fields of text are {known}."
        ) from None
    if text_field(model, name) is None:
        raise FieldError(f"matching() needs fields of text, and {name!r} is a {kind}.")


def _index(model: Any, names: list[str] | None) -> tuple[Any, TextIndex | None]:
    """The index that has the fields, the one with the fewest of them, and its model."""
    declared = declared_text_indexes(model)
    if names is None:
        return next(iter(declared), (model._meta.concrete_model, None))
    serving = [each for each in declared if set(names) <= set(each[1].fields)]
    nothing: Any = (model._meta.concrete_model, None)
    return min(serving, key=lambda each: len(each[1].fields), default=nothing)


def _all_text(model: Any) -> list[str]:
    fields = model._meta.concrete_model._meta.concrete_fields
    return [each.name for each in fields if text_field(model, each.name) is not None]


def _searching(rows: QuerySet[Any], search: TextSearch, annotation: str) -> QuerySet[Any]:
    found: QuerySet[Any] = rows.all()
    query: Any = found.query.chain(klass=searching(type(found.query)))  # type: ignore[arg-type]
    # The setter of ``query`` would have values_list() give dicts.
    vars(found)["_query"] = query
    rank = _joined(query, search)
    columns_of_key = len(rows.model._meta.pk_fields)
    name: Any = F if columns_of_key == 1 else Named
    order = OrderBy(name(annotation), descending=True, nulls_last=True)
    found = found.annotate(**{annotation: rank}).order_by(order, Key("pk"))
    query = found.query
    query.where.add(Matches(query.annotations[annotation], search), "AND")
    return found


def _joined(query: Any, search: TextSearch) -> TextRank:
    """The rank, of what is joined to a query for it."""
    keys: list[Any] = [
        F(field.name).resolve_expression(query, allow_joins=True)
        for field in search.model._meta.pk_fields
    ]
    columns = tuple(key.target.column for key in keys)
    alias = query.join(TextJoin(search, keys[0].alias, columns), reuse=set())
    query.alias_map[alias] = query.alias_map[alias].demote()
    texts = [F(name) for name in search.indexed]
    key, rank = JoinedColumn(alias, key_name(0)), JoinedColumn(alias, "dorm_rank")
    return TextRank(search, texts, key, rank)
