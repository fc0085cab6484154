"""
Fused searches as parts of a query: a join with the rows that the legs found.

The legs run as the join is written, each as a query of its own, on the database that the statement
is for: so a fused queryset is lazy, and may stand inside other queries. What it adds to the query
are a join, its columns and a condition, which Django renames, combines and groups like any other.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Field, FloatField, Model, OrderBy, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import IsNull
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.constants import INNER, LOUTER
from django.db.models.sql.where import AND

from dorm_vector.engines import engine_for
from dorm_vector.search.query import Key, Named, SearchQuery
from dorm_vector.sql import SQL, literal
from dorm_vector.types import Rows
from dorm_vector.values import short

__all__ = ["Fusion", "Hit", "Reranked", "Source", "joined", "without_conditions"]

# The join's name among the tables of a query.
TABLE = "fused"


class Hit(NamedTuple):
    """A row that was found: its key, its score, and its rank in each leg."""

    key: tuple[Any, ...]
    score: float
    ranks: tuple[int | None, ...]


class Source(Protocol):
    """Where the hits come from: legs, or candidates that are re-ranked."""

    def hits(self, using: str) -> list[Hit]:
        """All hits, the best first."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fusion:
    """Reciprocal rank fusion of ``legs``: ordered queries with a limit."""

    legs: tuple[Any, ...]
    weights: tuple[float, ...]
    k: float

    def hits(self, using: str) -> list[Hit]:
        ranks: dict[tuple[Any, ...], list[int | None]] = {}
        for place, leg in enumerate(self.legs):
            for rank, key in enumerate(_keys(leg, using), start=1):
                found = ranks.setdefault(key, [None] * len(self.legs))
                # A row that a leg repeats has its first rank.
                found[place] = found[place] or rank
        return best_first(
            Hit(key, self._score(found), tuple(found)) for key, found in ranks.items()
        )

    def _score(self, ranks: Sequence[int | None]) -> float:
        # Rounded exactly: the same ranks in other legs give the same sum if weights are equal.
        pairs = zip(self.weights, ranks, strict=True)
        return math.fsum(weight / (self.k + rank) for weight, rank in pairs if rank is not None)


def best_first(hits: Any) -> list[Hit]:
    return sorted(hits, key=lambda hit: -hit.score)


def _keys(query: Query, using: str) -> Iterator[tuple[Any, ...]]:
    """The primary keys of the rows of a query, in its order."""
    rows: QuerySet[Any] = QuerySet(query.model, query.clone(), using)
    if query.combinator:  # its order may need any of the columns
        keys: Any = [row.pk for row in rows]
    else:
        # Some index searches are sorted by the distance, if it is read.
        search = getattr(query, "search_in_force", None)
        names = [] if search is None else [search.annotation]
        keys = [row[0] for row in rows.values_list("pk", *names)]
    many = len(query.get_meta().pk_fields) > 1
    return (tuple(key) if many else (key,) for key in keys)


@dataclasses.dataclass(frozen=True, eq=False)
class Reranked:
    """The rows of a queryset with the scores that a callable gives them."""

    candidates: QuerySet[Any]
    ranks: str
    rerank: Any
    text: str

    def hits(self, using: str) -> list[Hit]:
        rows = list(self.candidates.using(using))
        pairs = zip(rows, self._scores(rows), strict=True)
        many = len(self.candidates.model._meta.pk_fields) > 1
        return best_first(
            Hit(tuple(row.pk) if many else (row.pk,), score, getattr(row, self.ranks))
            for row, score in pairs
        )

    def _scores(self, rows: list[Any]) -> list[float]:
        if not rows:
            return []
        given = self.rerank(rows, self.text)
        try:
            scores = [float(score) for score in given]
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"rerank has to return a number for each candidate, not {short(given)}."
            ) from None
        if len(scores) != len(rows):
            raise ValueError(
                f"rerank returned {len(scores):,} scores for {len(rows):,} candidates; it has to "
                "return one for each."
            )
        undefined = next((score for score in scores if not math.isfinite(score)), None)
        if undefined is not None:
            raise ValueError(f"rerank returned {undefined!r} as a score; it has to be finite.")
        return scores

    def __getstate__(self) -> dict[str, Any]:
        # Pickling a queryset would evaluate it.
        rows = self.candidates
        state = {**vars(rows), "_result_cache": None, "_query": rows.query}
        return {**vars(self), "candidates": (type(rows), state)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        made, attributes = state["candidates"]
        rows = made.__new__(made)
        vars(rows).update(attributes)
        vars(self).update({**state, "candidates": rows})


class RanksField(Field):
    """The ranks of a row, a tuple with None for each leg that does not have it; written "1,,3"."""

    def get_internal_type(self) -> str:
        return "TextField"

    def from_db_value(self, value: str | None, *args: object) -> tuple[int | None, ...] | None:
        if value is None:
            return None
        return tuple(int(rank) if rank else None for rank in value.split(","))

    def get_prep_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return ",".join("" if rank is None else f"{rank:d}" for rank in value)


class FusedColumn(Col):
    """A column of the join."""


def column(alias: str, place: int, field: Field) -> FusedColumn:
    """The column at a position, from 1, as databases name those of VALUES."""
    target = field.clone()
    target.column = f"column{place}"
    # That it is one of the model's table is what GROUP BY would take from it.
    target.primary_key = False
    return FusedColumn(alias, target)


class FusedOrder(OrderBy):
    """The order by the score of a fusion."""

    def __init__(self, source: Source, annotation: str, columns_of_key: int) -> None:
        name: Any = F if columns_of_key == 1 else Named
        super().__init__(name(annotation), descending=True, nulls_last=True)
        self.source, self.annotation = source, annotation


class FusedJoin:
    """The join of a table with the hits of a source; what Django's ``Join`` is to a table."""

    table_name = TABLE
    filtered_relation = None
    join_field = None
    #: Under OR it has to become an outer join, since its condition excludes rows.
    nullable = True

    def __init__(self, source: Source, model: type[Model], parent_alias: str) -> None:
        self.source, self.model, self.parent_alias = source, model, parent_alias
        self.table_alias: str = TABLE
        self.join_type = INNER
        #: How many conditions the query has at first.
        self.conditions = 0
        #: Whether the statement is only shown, so that no leg runs.
        self.is_shown = False

    @property
    def identity(self) -> tuple[Any, ...]:
        return type(self), id(self.source), self.model, self.parent_alias

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FusedJoin) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def changed(self, **changes: Any) -> FusedJoin:
        made = object.__new__(FusedJoin)
        vars(made).update({**vars(self), **changes})
        return made

    def relabeled_clone(self, change_map: dict[str, str]) -> FusedJoin:
        parent, own = self.parent_alias, self.table_alias
        return self.changed(
            parent_alias=change_map.get(parent, parent), table_alias=change_map.get(own, own)
        )

    def promote(self) -> FusedJoin:
        return self.changed(join_type=LOUTER)

    def demote(self) -> FusedJoin:
        return self.changed(join_type=INNER)

    def shown(self) -> FusedJoin:
        return self.changed(is_shown=True)

    def as_sql(self, compiler: Any, connection: Any) -> SQL:
        fields = self.model._meta.pk_fields
        # Its name before Django 6.1.
        quote = getattr(compiler, "quote_name", None) or compiler.quote_name_unless_alias
        rows, params = self._rows(compiler, connection)
        own = quote(self.table_alias)
        same = " AND ".join(
            f"{quote(self.parent_alias)}.{connection.ops.quote_name(field.column)} = "
            f"{own}.column{place}"
            for place, field in enumerate(fields, start=1)
        )
        return SQL(f"{self.join_type} ({rows}) {own} ON ({same})", params)

    def _rows(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        """The hits that the query may need, as a list of rows."""
        fields = [*self.model._meta.pk_fields, FloatField(), RanksField()]
        types = [field.db_type(connection) for field in fields]
        template = engine_for(connection).listed_value
        if self.is_shown:
            return _no_rows(template, types, "/* what the legs find */ ")
        hits = _needed(self.source.hits(connection.alias), compiler.query, self)
        if not hits:
            return _no_rows(template, types)
        written = [_row(hit, fields, connection) for hit in hits]
        # The first row determines the types of the columns.
        first = _typed(template, [sql for sql, _ in written[0]], types)
        others = [", ".join(sql for sql, _ in row) for row in written[1:]]
        rows = "), (".join([", ".join(first), *others])
        return SQL(
            f"VALUES ({rows})", tuple(param for row in written for _, some in row for param in some)
        )


def _typed(template: str, values: Sequence[str], types: Sequence[Any]) -> list[str]:
    pairs = zip(values, types, strict=True)
    return [template.format(value=value, type=db_type) for value, db_type in pairs]


def _no_rows(template: str, types: Sequence[Any], comment: str = "") -> SQL:
    nulls = _typed(template, ["NULL"] * len(types), types)
    columns = ", ".join(f"{null} AS column{place}" for place, null in enumerate(nulls, start=1))
    return SQL(f"{comment}SELECT {columns} WHERE 1 = 0")


def _row(hit: Hit, fields: Sequence[Any], connection: BaseDatabaseWrapper) -> list[SQL]:
    *key_fields, _, ranks = fields
    return [
        *(
            _value(field, value, connection)
            for field, value in zip(key_fields, hit.key, strict=True)
        ),
        SQL(literal(hit.score)),
        SQL(literal(ranks.get_prep_value(hit.ranks))),
    ]


def _value(field: Field, value: object, connection: BaseDatabaseWrapper) -> SQL:
    prepared = field.get_db_prep_value(value, connection)
    # Databases limit the number of parameters.
    return SQL(literal(prepared)) if type(prepared) is int else SQL("%s", (prepared,))


def _needed(hits: list[Hit], query: Query, join: FusedJoin) -> list[Hit]:
    """The hits that a slice of a query may need: rows of equal score follow their keys."""
    end = query.high_mark
    if end is None or len(hits) <= end or not _is_as_made(query, join):
        return hits
    if end == 0:
        return []
    last = hits[end - 1].score
    return [hit for hit in hits if hit.score >= last]


def _is_as_made(query: Query, join: FusedJoin) -> bool:
    """Whether a query still has its original order, and excludes no row."""
    order = next(iter(query.order_by), None)
    return (
        isinstance(order, FusedOrder)
        and order.source is join.source
        and isinstance(query.annotations.get(order.annotation), FusedColumn)
        and query.standard_ordering
        and not query.extra_order_by
        and not query.distinct
        and query.group_by is None
        and query.where.connector == AND
        and not query.where.negated
        and len(query.where.children) == join.conditions
    )


class FusedQuery(SearchQuery):
    """The part of a query with a fusion, whose text can be shown without running the legs."""

    def __str__(self) -> str:
        query: Any = self.clone()
        joins = query.alias_map.items()
        fused = {alias: join.shown() for alias, join in joins if isinstance(join, FusedJoin)}
        query.alias_map.update(fused)
        return str(super(FusedQuery, query).__str__())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (self.composed_with,), vars(self)


@functools.cache
def fusing(base: type[Query]) -> type[FusedQuery]:
    """The class of a query with a fusion, composed with the queryset's own."""
    if issubclass(base, FusedQuery):
        return base
    own = project_class(base)
    return type(f"Fused{own.__name__}", (FusedQuery, own), {"composed_with": own})


def _rebuilt(base: type[Query]) -> FusedQuery:
    composed = fusing(base)  # type: ignore[arg-type]
    return composed.__new__(composed)


def project_class(composed: type[Query]) -> type[Query]:
    """The Query class that a queryset had before it was searched."""
    return getattr(composed, "composed_with", composed)


def joined(rows: Rows, source: Source, annotation: str, ranks: str) -> Rows:
    """The rows that a source has found, annotated with scores and ranks, best first."""
    keys = rows.model._meta.pk_fields
    found = rows.order_by()
    query: Any = found.query.chain(klass=fusing(type(found.query)))  # type: ignore[arg-type]
    join = FusedJoin(source, rows.model, query.get_initial_alias())
    alias = query.join(join)
    query.where.add(IsNull(column(alias, 1, keys[0]), False), AND)
    conditions = len(query.where.children)
    query.alias_map[alias] = join.changed(join_type=INNER, conditions=conditions)
    # The setter of ``query`` would have values_list() give dicts.
    vars(found)["_query"] = query
    scored: Any = found.annotate(
        **{
            annotation: column(alias, len(keys) + 1, FloatField()),
            ranks: column(alias, len(keys) + 2, RanksField()),
        }
    )
    ordered: Rows = scored.order_by(FusedOrder(source, annotation, len(keys)), Key("pk"))
    return ordered


# What decides how rows are read, not which.
READING = ("select_related", "deferred_loading", "_filtered_relations")


def without_conditions(rows: Rows) -> Rows:
    """All rows of a queryset's model, read its way: its class, select_related(), only(), ..."""
    query: Any = rows.query.clone()
    pristine, reading = vars(Query(query.model)), {name: getattr(query, name) for name in READING}
    # Anything else of a project's own Query class is kept.
    own = {name: value for name, value in vars(query).items() if not hasattr(SearchQuery, name)}
    vars(query).clear()
    vars(query).update({**own, **pristine, **reading})
    made: Rows = rows._chain()  # type: ignore[attr-defined]
    vars(made)["_query"] = query.chain(klass=project_class(type(query)))
    return made
