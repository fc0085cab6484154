"""The tables of a round: made on every engine and for the oracle, loaded, and dropped again."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from django.db import connections

from tests.fuzz import search_oracle
from tests.fuzz.search_cases import ENGINES, RESET
from tests.fuzz.search_data import Data, static_rows
from tests.fuzz.search_models import STATIC
from tests.fuzz.search_oracle import ORACLE

__all__ = ["prepare", "tables"]


def prepare() -> None:
    """What every round needs: the extension, a schema, functions, owners and tags."""
    execute("postgresql", "CREATE EXTENSION IF NOT EXISTS vector")
    connections["postgresql"].close()
    execute("postgresql", "CREATE SCHEMA fuzz")
    for statement in RESET["postgresql"].split("; "):
        execute("postgresql", statement)
    for alias in ("default", ORACLE):
        execute(alias, "ATTACH DATABASE ':memory:' AS fuzz")
    search_oracle.prepare(connections[ORACLE].connection)
    for alias in (*ENGINES.values(), ORACLE):
        with connections[alias].schema_editor() as editor:
            for model in STATIC:
                editor.create_model(model)
        for model, rows in static_rows().items():
            model._base_manager.using(alias).bulk_create(model(**row) for row in rows)


def execute(alias: str, sql: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


@contextlib.contextmanager
def tables(data: Data, engines: list[str]) -> Iterator[None]:
    aliases = [*(ENGINES[engine] for engine in engines), ORACLE]
    made = []
    try:
        for alias in aliases:
            made.append(alias)
            create(data, alias)
        yield
    finally:
        for alias in made:
            drop(data, alias)


def create(data: Data, alias: str) -> None:
    if alias == ORACLE:
        with connections[alias].schema_editor() as editor, without_indexes(data):
            for model in data.setup.tables:
                editor.create_model(model)
    else:
        with connections[alias].schema_editor() as editor:
            for model in data.setup.tables:
                editor.create_model(model)
    load(data, alias)
    if alias == "postgresql":
        # The lists of an index are those of the rows that were there when it was made.
        for model in data.setup.tables:
            table = connections[alias].ops.quote_name(model._meta.db_table)
            execute(alias, f"REINDEX TABLE {table}")
            execute(alias, f"ANALYZE {table}")


@contextlib.contextmanager
def without_indexes(data: Data) -> Iterator[None]:
    saved = {model: model._meta.indexes for model in data.setup.tables}
    for model in saved:
        model._meta.indexes = []
    try:
        yield
    finally:
        for model, indexes in saved.items():
            model._meta.indexes = indexes


def load(data: Data, alias: str) -> None:
    model: Any = data.setup.model
    objects = [model_of(data, row)(**copy.deepcopy(row)) for row in data.rows]
    if len({type(item) for item in objects}) > 1 or (model._meta.parents and not model._meta.proxy):
        for item in objects:
            item.save(using=alias, force_insert=True)
    else:
        model._base_manager.using(alias).bulk_create(objects)
    if data.links:
        link(data, alias)
    if data.setup.children:
        children: Any = data.setup.children
        children.objects.using(alias).bulk_create(children(**row) for row in data.chunks)


def model_of(data: Data, row: dict[str, Any]) -> Any:
    return data.setup.tables[2] if "aid" in row else data.setup.model


def link(data: Data, alias: str) -> None:
    field: Any = data.setup.model._meta.get_field("tags")
    through = field.remote_field.through
    name = f"{field.m2m_field_name()}_id"
    through._base_manager.using(alias).bulk_create(
        through(**{name: key, "tag_id": tag}) for key, tag in data.links
    )


def drop(data: Data, alias: str) -> None:
    with connections[alias].schema_editor() as editor:
        for model in reversed(data.setup.tables):
            editor.delete_model(model)
