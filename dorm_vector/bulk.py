"""``bulk_copy()``: loading many rows at close to the speed of the driver."""

from __future__ import annotations

import contextlib
import itertools
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.db.models import Field, Manager, Model, QuerySet
from django.db.models.expressions import DatabaseDefault
from django.db.models.sql import InsertQuery

from dorm_vector.engines import engine_for
from dorm_vector.engines.base.loaders import Loader
from dorm_vector.instances import Order, held_types, reader

__all__ = ["bulk_copy"]

# How many rows lie between two calls of ``progress``, and are passed on at a time.
CHUNK = 1000

# An amount of memory as PostgreSQL takes it; a bare number means kilobytes.
MEMORY = re.compile(r"[0-9]+(\.[0-9]+)? ?(B|kB|MB|GB|TB)?")
MAX_WORKERS = 1024

Progress = Callable[[int], object]
# What fields and binary formats raise for a value that they refuse.
REFUSALS = (
    ValidationError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    struct.error,
)


def bulk_copy(
    model_or_queryset: type[Model] | QuerySet[Model, object] | Manager[Model],
    objs: Iterable[Model],
    *,
    batch_size: int | None = None,
    ignore_conflicts: bool = False,
    update_conflicts: bool = False,
    unique_fields: Sequence[str] = (),
    update_fields: Sequence[str] = (),
    progress: Progress | None = None,
    rebuild_indexes: bool = False,
    maintenance_work_mem: str | None = None,
    workers: int | None = None,
) -> int:
    """
    Insert ``objs`` and return their number.

    On PostgreSQL by a binary COPY, elsewhere by the driver's executemany(). ``objs`` is read as it
    is loaded, so that an iterator of millions needs no memory for them. The objects are checked as
    bulk_create() checks them, and their primary keys are not set.

    Everything is one transaction, or each ``batch_size`` rows are. The conflict options are those
    of bulk_create(). ``progress`` is called with the number of rows so far. ``rebuild_indexes``
    drops the model's vector indexes before the load and makes them again after it, on PostgreSQL
    with that ``maintenance_work_mem`` and that many parallel ``workers``; it needs one transaction.

    Raises ValidationError or ValueError that names the row for a value that a field refuses.
    Where a field cannot be copied, rows go in by bulk_create()'s INSERT; a RuntimeWarning says so.
    A database that only reads, as a replica does, is named by the error that it raises.
    """
    settings = {"maintenance_work_mem": maintenance_work_mem, "workers": workers}
    _check_options(batch_size, rebuild_indexes, settings)
    _check_settings(**settings)
    queryset = _queryset(model_or_queryset)
    load = Load(queryset, ignore_conflicts, update_conflicts, unique_fields, update_fields)
    load.progress = progress
    objects = iter(objs)
    with (
        load.engine.loading(),
        load.transaction() if batch_size is None else nullcontext(),
        load.engine.without_indexes(load.model, settings) if rebuild_indexes else nullcontext(),
    ):
        load.run(objects, batch_size)
    if progress is not None and (load.count % CHUNK or not load.count):
        progress(load.count)
    return load.count


def _check_options(batch_size: Any, rebuild_indexes: bool, settings: dict[str, Any]) -> None:
    if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        raise ValueError(f"bulk_copy() needs a batch_size of 1 or more, not {batch_size!r}.")
    if rebuild_indexes and batch_size is not None:
        raise ValueError("bulk_copy() rebuilds indexes in one transaction: leave out batch_size.")
    if not rebuild_indexes and any(value is not None for value in settings.values()):
        raise ValueError(
            "bulk_copy() takes maintenance_work_mem and workers only with rebuild_indexes=True."
        )


def _check_settings(maintenance_work_mem: Any, workers: Any) -> None:
    memory = maintenance_work_mem
    if memory is not None and not (isinstance(memory, str) and MEMORY.fullmatch(memory)):
        raise ValueError(
            f"bulk_copy() takes maintenance_work_mem such as '64MB' or '2GB', not {memory!r}."
        )
    if workers is not None and (type(workers) is not int or not 0 <= workers <= MAX_WORKERS):
        raise ValueError(f"bulk_copy() takes workers from 0 to {MAX_WORKERS}, not {workers!r}.")


class Shape(NamedTuple):
    """What the rows of one load have in common."""

    #: The fields that have values.
    fields: tuple[Any, ...]
    #: Whether the values are such that the engine's own loader takes them.
    is_plain: bool
    #: Whether the primary key is among them.
    has_key: bool


class Load:
    """One call of ``bulk_copy()``."""

    progress: Progress | None = None

    def __init__(
        self,
        queryset: QuerySet[Any],
        ignore_conflicts: bool,
        update_conflicts: bool,
        unique_fields: Sequence[str],
        update_fields: Sequence[str],
    ) -> None:
        self.queryset = queryset
        self.model = queryset.model
        self.alias = queryset.db
        self.connection = connections[self.alias]
        self.count = 0
        self.options = {
            "ignore_conflicts": ignore_conflicts,
            "update_conflicts": update_conflicts,
            "unique_fields": unique_fields or None,
            "update_fields": update_fields or None,
        }
        self._check_model()
        self.fields = [field for field in self.model._meta.concrete_fields if not field.generated]
        self._check_conflicts()
        self.pk: Any = self.model._meta.pk
        self.makes_pk = not _leaves_key_to_database(self.pk)
        self.instances: Any = self.model._meta.concrete_model
        self.readers = [(field, *reader(field)) for field in self.fields]
        self.held = held_types()
        self.has_relations = any(field.is_relation for field in self.fields)
        self.order = Order(self.model, self.alias)
        self.shapes: dict[tuple[Any, ...], Shape] = {}
        self.last_key: tuple[Any, ...] = ()
        self.last_shape = Shape((), False, False)
        # Of objects with a key whose rows the database has not got yet.
        self._states: list[Any] = []
        self.engine = engine_for(self.connection)
        self.obstacle = self._obstacle()

    def _obstacle(self) -> str | None:
        """Why rows have to go in as bulk_create() does it, the rest of a sentence."""
        return next(filter(None, map(self.engine.why_not_copied, self.fields)), None)

    def _check_model(self) -> None:
        options = self.model._meta
        for parent in options.all_parents:
            if parent._meta.concrete_model is not options.concrete_model:
                raise ValueError("Can't bulk create a multi-table inherited model")

    def _check_conflicts(self) -> None:
        options = self.model._meta
        given: dict[str, Any] = dict(self.options)
        unique = given["unique_fields"] and [
            options.pk.name if name == "pk" else name for name in given["unique_fields"]
        ]
        check: Any = self.queryset._check_bulk_create_options  # type: ignore[attr-defined]
        by_name = options.get_field
        self.update = [by_name(name) for name in given["update_fields"] or ()]
        self.unique = [by_name(name) for name in unique or ()]
        self.on_conflict = check(
            given["ignore_conflicts"],
            given["update_conflicts"],
            self.update or None,
            self.unique or None,
        )

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """
        A block of which everything is loaded, or nothing.

        Without autocommit it is a savepoint: nothing else would keep rows from before an error out
        of the COMMIT that is the project's own. In a block of atomic(), that has to be rolled back.
        """
        return transaction.atomic(self.alias, savepoint=not self.connection.in_atomic_block)

    def run(self, objects: Iterator[Model], batch_size: int | None) -> None:
        if self.obstacle:
            warnings.warn(
                f"bulk_copy() inserts as bulk_create() does: {self.obstacle}.",
                RuntimeWarning,
                stacklevel=3,
            )
        if batch_size is None:
            self._run(objects)
            return
        for first in objects:
            batch = itertools.chain([first], itertools.islice(objects, batch_size - 1))
            with self.transaction():
                self._run(batch)

    def _run(self, objects: Iterator[Model]) -> None:
        loader, loaded = None, None
        for obj in objects:
            self.count += 1
            if self.progress is not None and not self.count % CHUNK:
                self.progress(self.count)
            try:
                shape, values = self._values(obj)
            except REFUSALS as error:
                raise self.named(error, self.count) from error
            # Consecutive rows that leave the same columns to the database form one load.
            if loader is None or shape is not loaded:
                if loader is not None:
                    self._finish(loader)
                loader, loaded = self._loader(shape), shape
            try:
                is_time_to_send = loader.add(values)
            except REFUSALS as error:
                raise self.named(error, self.count) from error
            if shape.has_key:
                self._states.append(obj._state)
            if is_time_to_send:
                loader.send()
                self._are_saved()
        if loader is not None:
            self._finish(loader)

    def _loader(self, shape: Shape) -> Loader:
        if shape.is_plain:
            return self.engine.loader(self, shape.fields)
        return Creations(self, shape.fields)

    def _finish(self, loader: Loader) -> None:
        loader.finish()
        self._are_saved()

    def _are_saved(self) -> None:
        """Mark objects as saved, as bulk_create() does, so that save() updates their rows."""
        states, self._states = self._states, []
        for state in states:
            state.adding, state.db = False, self.alias

    def named(self, error: Exception, number: int) -> Exception:
        """A field's error, with the number of the row."""
        if isinstance(error, ValidationError):
            message = f"Row {number}: {' '.join(error.messages)}"
            return ValidationError(message, code=getattr(error, "code", None))
        return ValueError(f"Row {number}: {error}")

    def _values(self, obj: Model) -> tuple[Shape, list[Any]]:
        """The fields that a row has values for, and those values."""
        if not isinstance(obj, self.instances):
            raise TypeError(f"Expected an instance of {self.model.__name__}, not {obj!r}.")
        pk = self.pk
        if self.makes_pk and (obj.pk is None or isinstance(obj.pk, tuple)):
            self._set_pk(obj)
        if self.has_relations:
            obj._prepare_related_fields_for_save(operation_name="bulk_copy")
        if self.order.field:
            self.order.set(obj)
        left_out: tuple[Any, ...] = ()
        values: list[Any] = []
        is_plain, held = not self.obstacle, self.held
        for field, read, pre_save in self.readers:
            value = read(obj)
            if type(value) in held:
                values.append(value)
                continue
            if pre_save is not None:
                value = pre_save(obj, True)
            if isinstance(value, DatabaseDefault) or (value is None and field is pk):
                left_out += (field,)
                continue
            values.append(value)
            if hasattr(value, "resolve_expression"):
                is_plain = False
        shape = self._shape(left_out, is_plain)
        if not shape.is_plain:
            self._try(shape.fields, values)
        return shape, values

    def _try(self, fields: tuple[Any, ...], values: list[Any]) -> None:
        """An INSERT of many rows would not tell which one has the value that is refused."""
        for field, value in zip(fields, values, strict=True):
            if not hasattr(value, "resolve_expression"):
                field.get_db_prep_save(value, self.connection)

    def _shape(self, left_out: tuple[Any, ...], is_plain: bool) -> Shape:
        """The same one for the same fields, so that rows of the same fields are soon told."""
        key = (left_out, is_plain)
        if key == self.last_key:  # in which the fields are the same ones, so that this is quick
            return self.last_shape
        if key not in self.shapes:
            fields = tuple(field for field in self.fields if field not in left_out)
            has_key = all(field in fields for field in self.model._meta.pk_fields)
            self.shapes[key] = Shape(fields, is_plain and bool(fields), has_key)
        self.last_key, self.last_shape = key, self.shapes[key]
        return self.last_shape

    def _set_pk(self, obj: Any) -> None:
        if not obj._is_pk_set() and (value := self.pk.get_pk_value_on_save(obj)) is not None:
            obj.pk = value


class Creations(Loader):
    """Loads by the INSERT of bulk_create(), which takes expressions and every field."""

    def __init__(self, load: Load, fields: tuple[Any, ...]) -> None:
        super().__init__(load, fields)
        self._names = [field.attname for field in fields]
        self._rows: list[Any] = []

    def add(self, row: list[Any]) -> bool:
        self._rows.append(SimpleNamespace(**dict(zip(self._names, row, strict=True))))
        return len(self._rows) == CHUNK

    def send(self) -> None:
        rows, self._rows = self._rows, []
        size = max(1, self.connection.ops.bulk_batch_size(self.fields, rows))
        for start in range(0, len(rows), size):
            self._insert(rows[start : start + size])

    def _insert(self, rows: list[Any]) -> None:
        load = self.load
        query: Any = InsertQuery(
            load.model,
            on_conflict=load.on_conflict,
            update_fields=load.update,
            unique_fields=load.unique,
        )
        # Raw: the values are those that pre_save() has made.
        query.insert_values(list(self.fields), rows, raw=True)
        query.get_compiler(using=load.alias).execute_sql()


def _leaves_key_to_database(pk: Any) -> bool:
    """Whether a key is one that Django has added, and not of a class that makes keys itself."""
    own = any(
        getattr(type(pk), name, None) is not getattr(Field, name, None)
        for name in ("get_pk_value_on_save", "get_default")
    )
    return bool(pk.auto_created and not pk.has_default() and not own)


def _queryset(given: Any) -> QuerySet[Any]:
    if isinstance(given, type) and issubclass(given, Model):
        given = given._base_manager
    queryset = given.all()
    queryset._for_write = True
    return queryset  # type: ignore[no-any-return]
