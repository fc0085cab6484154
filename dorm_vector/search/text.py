"""``matching()``: the rows that have the words that a person typed, best first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, overload

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import connections
from django.db.models import F, Model, OrderBy, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.utils.functional import Promise

from dorm_vector.engines import engine_for
from dorm_vector.search.annotations import check_annotation
from dorm_vector.search.given import queryset_of
from dorm_vector.search.limits import check_rows
from dorm_vector.search.query import Key, Named, searching
from dorm_vector.search.ranking import (
    JoinedColumn,
    Matches,
    TextJoin,
    TextRank,
    TextSearch,
    key_name,
)
from dorm_vector.search.stop_words import STOP_WORDS
from dorm_vector.search.words import TextQuery, parse
from dorm_vector.text_indexes import TextIndex, declared_text_indexes, text_field
from dorm_vector.types import Found, Manages, Rows, Text
from dorm_vector.values import short

__all__ = ["matching"]

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
    queryset: QuerySet[Model] | Manages[QuerySet[Model]] | type[Model],
    text: Text | None,
    *,
    fields: Sequence[str] | None = None,
    match: str = "all",
    k: int | None = None,
    annotation: str = "rank",
) -> QuerySet[Model]:
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
    rows = queryset_of(queryset, "matching()")
    _check(text, match, k)
    check_annotation("matching", rows, annotation, lambda there: isinstance(there, TextRank))
    search = _search(rows, "" if text is None else str(text), fields, match)
    made = _searching(rows, search, annotation)
    if not search.query.alternatives:
        made = made.none()
    return made if k is None else made[: int(k)]


def _check(text: Any, match: Any, k: Any) -> None:
    if text is not None and not isinstance(text, str | Promise):
        raise TypeError(f"matching() takes the text to search for, not {short(text)}.")
    if match not in ("all", "any"):
        raise ValueError(f"matching() takes match='all' or match='any', not {short(match)}.")
    check_rows("matching", k)


def _search(rows: QuerySet[Any], text: str, fields: Sequence[str] | None, match: str) -> TextSearch:
    names = None if fields is None else _names(rows.model, fields)
    model, index = _index(rows.model, names)
    if names is None:
        names = list(index.fields) if index else _all_text(rows.model)
    elif index:
        names = [name for name in index.fields if name in names]
    search = TextSearch(model, tuple(names), _parsed(text, index), match == "any", index)
    engine = engine_for(connections[rows.db])
    if index is None and not engine.computes_text:
        engine.refuse_text(search)
    return search


def _parsed(text: str, index: TextIndex | None) -> TextQuery:
    if index and index.tokenize:
        return parse(text, split=False)
    language = index.language if index else "english"
    return parse(text).without(STOP_WORDS.get(language, frozenset()))


def _names(model: type[Model], fields: Iterable[str]) -> list[str]:
    is_iterable = isinstance(fields, Iterable) and not isinstance(fields, str | bytes)
    names = list(fields) if is_iterable else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"matching() takes a list of field names as fields=, not {short(fields)}.")
    for name in names:
        if LOOKUP_SEP in name:
            raise FieldError(
                f"matching() searches the fields of one table, and {name!r} crosses a relation: "
                "search the other model, and filter by its rows, filter(relation__in=matching())."
            )
        _check_field(model, name)
    return list(dict.fromkeys(names))


def _check_field(model: Any, name: str) -> None:
    try:
        class_name = type(model._meta.get_field(name)).__name__
    except FieldDoesNotExist:
        known = ", ".join(map(repr, _all_text(model)))
        raise FieldError(
            f"{model._meta.label} has no field {name!r}; its text fields are {known}."
        ) from None
    if text_field(model, name) is None:
        raise FieldError(f"matching() needs text fields, not the {class_name} {name!r}.")


def _index(model: Any, names: list[str] | None) -> tuple[Any, TextIndex | None]:
    """The index with the fewest fields that has all of these, and its model."""
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
    """The rank, from the join of a query."""
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
