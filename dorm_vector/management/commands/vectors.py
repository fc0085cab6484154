"""``manage.py vectors``: how the vectors and their indexes are."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections, router
from django.db.models import Field, Model

from dorm_vector.declarations import may_hold_vectors
from dorm_vector.engines import Engine, engine_for
from dorm_vector.fields import AnyVectorField
from dorm_vector.management.arguments import as_json, database
from dorm_vector.methods import MethodIndex
from dorm_vector.text_indexes import TextIndex

__all__ = ["Command"]

UNITS = ("bytes", "kB", "MB", "GB")


class Command(BaseCommand):
    help = (
        "Reports on a project's vectors: databases, columns and indexes. Reads whole tables. "
        "Exits with 1 if an index is unusable, and says how to repair it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("models", metavar="app.Model", nargs="*", help="Models; all by default")
        parser.add_argument("--database", help="A database; by default all that may hold vectors.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        given = options["database"]
        aliases = [database(given)] if given else [*connections]
        models = [_named(label) for label in options["models"]]
        found = [
            self._database(alias, models) for alias in aliases if given or may_hold_vectors([alias])
        ]
        if options["json"]:
            self.stdout.write(as_json(found))
        else:
            for each in found:
                self.stdout.write("\n".join(_lines(each)))
        _judge(found)

    def _database(self, alias: str, models: list[Any]) -> dict[str, Any]:
        engine = engine_for(connections[alias])
        try:
            tables = engine.connection.introspection.table_names()
            return {
                "database": alias,
                "engine": engine.label,
                **engine.facts(),
                "columns": [
                    _column(engine, model, field)
                    for model, field in _fields(alias, models)
                    if model._meta.db_table in tables
                ],
                "others": [
                    other
                    for model in _models(alias, models)
                    if model._meta.db_table in tables
                    for other in _others(engine, model)
                ],
            }
        except DatabaseError as error:
            raise CommandError(f"The database {alias!r}: {error}") from error


def _named(label: str) -> Any:
    try:
        return apps.get_model(label)._meta.concrete_model
    except (LookupError, ValueError):
        raise CommandError(f"There is no model {label!r}: name models as app.Model.") from None


def _models(alias: str, models: list[Any]) -> Iterator[Any]:
    for model in models or apps.get_models():
        if not model._meta.proxy and router.allow_migrate_model(alias, model):
            yield model


def _others(engine: Engine, model: Any) -> Iterator[dict[str, Any]]:
    """The text indexes and FreshVectors of a model, and whether the database has them."""
    texts = [index for index in model._meta.indexes if isinstance(index, TextIndex)]
    fresh = [each for each in model._meta.constraints if getattr(each, "keeps_fresh", False)]
    if not texts and not fresh:
        return
    there = engine.names_there(model)
    for index in texts:
        reason = engine.why_no_text_index(index, model)
        # What else it is made of differs by the primary key.
        is_there = engine.same_name(index.name) in there
        state = "not built" if reason else "valid" if is_there else "absent"
        yield {
            "model": model._meta.label,
            "kind": "text index",
            "name": index.name,
            "fields": list(index.fields),
            "state": state,
            "problem": reason and f"{reason}.",
        }
    for constraint in fresh:
        is_there = engine.same_name(constraint.name) in there
        yield {
            "model": model._meta.label,
            "kind": "fresh vector",
            "name": constraint.name,
            "fields": [constraint.field, *constraint.of],
            "state": "valid" if is_there else "absent",
            "problem": None if is_there else "Stale vectors are kept: there is no trigger.",
        }


def _fields(alias: str, models: list[Any]) -> Iterator[tuple[Any, Any]]:
    for model in _models(alias, models):
        for field in model._meta.local_concrete_fields:
            if isinstance(getattr(field, "output_field", None) or field, AnyVectorField):
                yield model, field


def _column(engine: Engine, model: Any, field: Any) -> dict[str, Any]:
    vectors = getattr(field, "output_field", None) or field
    state = engine.column_state(model, field)
    there = engine.vector_columns(model._meta.db_table).get(field.column)
    return {
        "model": model._meta.label,
        "field": field.name,
        "kind": vectors.kind,
        "dimensions": vectors.dimensions,
        "dimensions_there": there and there.dimensions,
        **state._asdict(),
        "indexes": _indexes(engine, model, field),
    }


def _indexes(engine: Engine, model: type[Model], field: Field) -> list[dict[str, Any]]:
    """The indexes of a column, and at the first one those that nobody has declared."""
    declared = {
        index.name: index for index in model._meta.indexes if isinstance(index, MethodIndex)
    }
    columns = {found.name: found.column for found in engine.vector_indexes(model._meta.db_table)}
    return [
        {
            **state._asdict(),
            "declared": state.name in declared,
            "lacks": _lacks(engine, declared.get(state.name), model),
        }
        for state in engine.index_states(model)
        if (
            declared[state.name].fields == [field.name]
            if state.name in declared and declared[state.name].fields
            else columns.get(state.name, field.column) == field.column
        )
    ]


def _lacks(engine: Engine, index: MethodIndex | None, model: type[Model]) -> int | None:
    return engine.lacking(index, model) if index is not None else None


# For people


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['database']}: {found['engine']}"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield f"  {versions}" + (f" ({found['loaded']})" if "loaded" in found else "")
    for name, value in found["settings"].items():
        yield f"  {name} = {value}"
    for column in found["columns"]:
        yield _column_line(column)
        for index in column["indexes"]:
            yield _index_line(index)
            if index["problem"]:
                yield f"      {index['problem']}"
            if index["cure"]:
                yield f"      Run {index['cure']}."
    for other in found["others"]:
        fields = ", ".join(other["fields"])
        yield f"  {other['model']}: {other['kind']} {other['name']} ({fields}), {other['state']}"
        if other["problem"]:
            yield f"      {other['problem']}"


def _column_line(column: dict[str, Any]) -> str:
    dimensions = f"{column['dimensions']}"
    if column["dimensions_there"] not in (None, column["dimensions"]):
        dimensions += f", in the database {column['dimensions_there']}"
    return (
        f"  {column['model']}.{column['field']}: {column['kind']}({dimensions}), "
        f"{column['rows']:,} rows, {column['nulls']:,} NULL, {column['zeros']:,} zeros, "
        f"{_size(column['bytes'])}"
    )


def _index_line(index: dict[str, Any]) -> str:
    state = index["state"].upper() if index["state"] == "invalid" else index["state"]
    parts = [index["method"], state]
    if index["size"] is not None:
        parts.append(_size(index["size"]))
    if index["uses"] is not None:
        parts.append(f"{index['uses']:,} uses")
    if index["lacks"] is not None:
        parts.append(f"lacks {index['lacks']:,} rows")
    if not index["declared"]:
        parts.append("not declared")
    return f"    {index['name']}: {', '.join(parts)}"


def _size(count: float) -> str:
    place = 0
    while count >= 1000 and place < len(UNITS) - 1:
        count, place = count / 1000, place + 1
    return f"{count:,.0f} {UNITS[place]}" if not place else f"{count:,.1f} {UNITS[place]}"


def _judge(found: list[dict[str, Any]]) -> None:
    """Raise CommandError, and so end with 1, where an index is of no use."""
    names = {
        f"{column['model']}, {index['name']} ({each['database']!r}): {index['state']}": None
        for each in found
        for column in each["columns"]
        for index in column["indexes"]
        if index["state"] in ("invalid", "damaged", "left over", "absent")
    }
    names.update(
        (f"{other['model']}, {other['name']} ({each['database']!r}): absent", None)
        for each in found
        for other in each["others"]
        if other["state"] == "absent"
    )
    if names:
        raise CommandError(f"Unusable: {'; '.join(names)}.")
