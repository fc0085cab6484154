"""``manage.py inspectdb``, with the fields of vectors and their indexes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.commands import inspectdb
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from dorm_vector.engines import engine_for
from dorm_vector.indexes import HnswIndex, IvfflatIndex, TextIndex, VectorIndex
from dorm_vector.management.chaining import others_command
from dorm_vector.registry import FIELDS

__all__ = ["Command"]

INDEXES = {index.method: index for index in (HnswIndex, IvfflatIndex, VectorIndex)}
ANY_DIMENSIONS = "A vector of any dimensions: give its column a number of them."


class Command(inspectdb.Command):
    """The ``inspectdb`` that the project would have, extended by vectors."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Command:
        other = others_command("inspectdb") if cls is Command else None
        if other is None:
            return super().__new__(cls)
        if not issubclass(other, inspectdb.Command):  # it has nothing to extend
            return other(*args, **kwargs)  # type: ignore[return-value]
        return super().__new__(type("Command", (cls, other), {"__module__": __name__}))

    def handle_inspection(self, options: Any) -> Iterator[str]:
        self._connection = connections[options["database"]]
        self._imports: set[str] = set()
        lines = list(super().handle_inspection(options))
        for line in lines:
            yield line
            if line.startswith("from ") and line.endswith(" import models"):
                yield from (f"import {module}" for module in sorted(self._imports))

    def get_field_type(self, connection: BaseDatabaseWrapper, table_name: Any, row: Any) -> Any:
        found = engine_for(connection).vector_columns(table_name).get(row.name)
        if found is None:
            return super().get_field_type(connection, table_name, row)
        if found.dimensions is None:
            return "TextField", {}, [ANY_DIMENSIONS]
        field = FIELDS[found.kind]
        return self._path(field), {field.size_keyword: found.dimensions}, []

    def get_meta(self, table_name: Any, constraints: Any, names: Any, *args: Any) -> list[str]:
        meta: list[str] = super().get_meta(table_name, constraints, names, *args)
        engine = engine_for(self._connection)
        found = engine.vector_indexes(table_name)
        texts = [
            index
            for index in engine.found_text_indexes(table_name)
            if all(column in names for column in index.columns)
        ]
        notes = [
            *(f"The vector index {index.name!r} {index.gap}." for index in found if index.gap),
            *(f"The text index {index.name!r} {index.gap}." for index in texts if index.gap),
            *(index.note for index in texts if index.note and not index.gap),
        ]
        indexes = [
            f"            {self._index(index, names[index.column])},"
            for index in found
            if not index.gap and index.column in names
        ]
        indexes += [
            f"            {self._text_index(index, names)}," for index in texts if not index.gap
        ]
        listed = ["        indexes = [", *indexes, "        ]"] if indexes else []
        commented = [f"    # {note}" for note in notes]
        return [*meta[:1], *commented, *meta[1:], *listed]

    def _index(self, found: Any, field: str) -> str:
        index = INDEXES[found.method](
            fields=[field], name=found.name, metric=found.metric, **found.options
        )
        return self._written(index)

    def _text_index(self, found: Any, names: dict[str, str]) -> str:
        options = dict(found.options)
        if "weights" in options:
            options["weights"] = {names[column]: w for column, w in options["weights"].items()}
        fields = [names[column] for column in found.columns]
        return self._written(TextIndex(fields=fields, name=found.name, **options))

    def _written(self, index: Any) -> str:
        path, _, kwargs = index.deconstruct()
        self._imports.add(path.rpartition(".")[0])
        arguments = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
        return f"{path}({arguments})"

    def _path(self, cls: Any) -> str:
        self._imports.add(cls.__module__)
        return f"{cls.__module__}.{cls.__qualname__}"
