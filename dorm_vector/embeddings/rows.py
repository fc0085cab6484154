"""Rows to embed: which they are, how they are read, and how vectors are written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import OperationalError, connections, router, transaction
from django.db.models import F, Field, Func, Manager, Model, QuerySet, TextField, Value
from django.db.models.lookups import Exact
from django.db.models.query import ModelIterable, RawQuerySet

from dorm_vector.engines import engine_for
from dorm_vector.fields import AnyVectorField

__all__ = ["Rows"]

CONTENT = "_dorm_content"
# How often writing a batch is tried if the database is locked or gone, and the first pause.
WRITES, PAUSE = 5, 0.1


class Content(Func):
    """The contents of columns as text that differs whenever they do; see ``Engine.content``."""

    output_field = TextField()

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
        compiled = [compiler.compile(column) for column in self.get_source_expressions()]
        params = tuple(param for _, params in compiled for param in params)
        return engine_for(connection).content([sql for sql, _ in compiled]), params


class Rows:
    """
    The rows of a queryset whose ``field`` is to be embedded: without a vector, or all of them.

    ``of`` names the sources: fields whose change makes a vector stale. Raises TypeError,
    ValueError or FieldError for what cannot be embedded.
    """

    def __init__(
        self, queryset: Any, field: str, of: Sequence[str] | None = None, *, all_rows: bool = False
    ) -> None:
        queryset = _queryset(queryset)
        self.model: Any = queryset.model
        self.field = _field(self.model, field)
        self.all_rows = all_rows
        if not all_rows and not self.field.null:
            raise ValueError(
                f"{self.field} is never NULL, so that no row waits for a vector: declare it with "
                "null=True, or embed all rows."
            )
        self.alias = queryset._db or router.db_for_write(self.model, **queryset._hints)
        self.connection: Any = connections[self.alias]
        self.queryset: QuerySet[Any] = queryset.using(self.alias)
        self.sources = _sources(self.model, self.field, of)
        self.content = Content(*(F(source.name) for source in self.sources))
        self.key: Any = self.model._meta.pk

    # Reading

    @property
    def pending(self) -> QuerySet[Any]:
        """The rows that need a vector."""
        if self.all_rows:
            return self.queryset
        return self.queryset.filter(**{f"{self.field.name}__isnull": True})

    def count(self) -> int:
        return self.pending.order_by().values("pk").distinct().count()

    def keys(self, after: Any, count: int) -> list[Any]:
        """Up to so many keys of rows that need a vector, in order, after one or from the first."""
        rows = self.pending if after is None else self.pending.filter(pk__gt=after)
        # Joins may give a row several times.
        return self._keys_of(rows.order_by("pk").distinct(), count)

    def read(self, keys: Iterable[Any]) -> list[Any]:
        """The rows of those keys that still need a vector, in the order of the keys."""
        keys = list(keys)
        rows = self.pending.filter(pk__in=keys).order_by("pk")
        if self.sources:
            rows = rows.annotate(**{CONTENT: self.content})
        found = {row.pk: row for row in rows}
        return [found[key] for key in keys if key in found]

    @property
    def _key_names(self) -> list[str]:
        return [field.attname for field in self.model._meta.pk_fields]

    def _keys_of(self, rows: QuerySet[Any], count: int | None) -> list[Any]:
        found = list(rows.values_list(*self._key_names)[:count])
        # A primary key of several fields is a tuple.
        return found if len(self._key_names) > 1 else [key for (key,) in found]

    # Writing

    def write(self, vectors: list[tuple[Any, Any]]) -> list[Any]:
        """
        Write the vectors of rows that have not changed since, and return the keys of the others.

        It is one transaction, which skips rows that another one has locked.
        """
        for attempt in range(1, WRITES + 1):
            try:
                return self._write(vectors)
            except OperationalError:
                if attempt == WRITES or self.connection.in_atomic_block:
                    raise
                if not self.connection.is_usable():
                    self.connection.close()
            time.sleep(PAUSE * 2**attempt)
        raise AssertionError  # the last attempt returns or raises

    def _write(self, vectors: list[tuple[Any, Any]]) -> list[Any]:
        with transaction.atomic(self.alias):
            unlocked = self._locked([row.pk for row, _ in vectors])
            return [
                row.pk
                for row, vector in vectors
                if row.pk not in unlocked or not self._update(row, vector)
            ]

    def _locked(self, keys: list[Any]) -> Any:
        """The keys whose rows this transaction has locked, where it can."""
        if not self.connection.features.has_select_for_update_skip_locked:
            return keys
        rows = self._base().filter(pk__in=keys).order_by("pk")
        if self.sources:  # so that the rows of parents are locked too
            rows = rows.annotate(**{CONTENT: self.content})
        locked = rows.select_for_update(skip_locked=True, no_key=True)
        return {row.pk for row in locked.only(*self._key_names)}

    def _update(self, row: Any, vector: Any) -> int:
        rows = self._base().filter(pk=row.pk)
        if not self.all_rows:
            rows = rows.filter(**{f"{self.field.name}__isnull": True})
        if self.sources:
            rows = rows.filter(Exact(self.content, Value(vars(row)[CONTENT])))
        return int(rows.update(**{self.field.name: vector}))

    def _base(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.model._base_manager.using(self.alias)
        return rows

    def waiting(self, keys: list[Any]) -> list[Any]:
        """The keys whose rows still need a vector."""
        there = set(self._keys_of(self.pending.filter(pk__in=keys).order_by(), None))
        return [key for key in keys if key in there]


def _queryset(given: object) -> QuerySet[Any]:
    if isinstance(given, type) and issubclass(given, Model):
        given = given._default_manager
    if isinstance(given, Manager):
        given = given.all()
    if isinstance(given, RawQuerySet) or not isinstance(given, QuerySet):
        raise TypeError(f"embed() takes a queryset, a manager or a model, not {given!r}.")
    if reason := _obstacle(given):
        raise ValueError(f"embed() goes through rows by their keys: {reason}.")
    return given.order_by()


def _obstacle(queryset: QuerySet[Any]) -> str | None:
    """What a queryset has that embed() cannot keep, the second half of a sentence."""
    query: Any = queryset.query
    obstacles = {
        "remove the slice, and pass limit=": query.is_sliced,
        "it cannot take a union, intersection or difference": bool(query.combinator),
        "remove values() and values_list(), since the embedder gets instances": (
            not issubclass(queryset._iterable_class, ModelIterable)
        ),
        "remove the names from distinct()": bool(query.distinct_fields),
        "remove select_for_update(), since no lock is held while the embedder is called": (
            query.select_for_update
        ),
        "remove the order": bool(query.extra_order_by)
        or any(name not in ("pk", queryset.model._meta.pk.name) for name in query.order_by)
        or not query.standard_ordering,
    }
    return next((said for said, is_there in obstacles.items() if is_there), None)


def _field(model: type[Model], name: str) -> Any:
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        raise FieldError(f"{model._meta.label} has no field {name!r}.") from None
    if not isinstance(field, AnyVectorField):
        class_name = type(field).__name__
        raise FieldError(f"embed() fills vector fields, not the {class_name} {field}.")
    return field


def _sources(model: type[Model], field: Field, of: Sequence[str] | None) -> list[Any]:
    """
    The fields that a vector is computed from: those named here, or by a FreshVector, or all columns
    that hold no vectors.
    """
    if isinstance(of, str):
        raise TypeError(f"embed() takes a list of field names as of=, not {of!r}.")
    names = _fresh_sources(field) if of is None else of
    if names is None:
        return [
            each
            for each in model._meta.concrete_fields
            if not each.primary_key and not _holds_vectors(each) and each is not field
        ]
    return [_source(model, field, name) for name in names]


def _fresh_sources(field: Any) -> Sequence[str] | None:
    for each in field.model._meta.constraints:
        if getattr(each, "keeps_fresh", False) and each.field == field.name:
            return tuple(each.of)
    return None


def _holds_vectors(field: Any) -> bool:
    return isinstance(getattr(field, "output_field", None) or field, AnyVectorField)


def _source(model: type[Model], field: Field, name: str) -> Any:
    found = next(
        (each for each in model._meta.concrete_fields if name in (each.name, each.attname)), None
    )
    if found is None or found is field:
        raise FieldError(
            f"embed() takes names of other columns of {model._meta.label} as of=, not {name!r}."
        )
    return found
