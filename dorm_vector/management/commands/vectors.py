"""``manage.py vectors``: the state of vectors and their indexes."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, router
from django.db.models import Field, Model

from dorm_vector.engines import Engine, engine_for
from dorm_vector.engines.base.freshness import fresh_vectors
from dorm_vector.fields import AnyVectorField
from dorm_vector.management.arguments import as_json, database, reached
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
        models = list(dict.fromkeys(_named(label) for label in options["models"]))
        found = [self._database(alias, models) for alias in aliases if given or _is_used(alias)]
        if options["json"]:
            self.stdout.write(as_json(found))
        else:
            for each in found:
                self.stdout.write("\n".join(_lines(each)))
        _judge(found)

    def _database(self, alias: str, models: list[Any]) -> dict[str, Any]:
        engine = engine_for(connections[alias])
        with reached(alias):
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


def _named(label: str) -> Any:
    try:
        model: Any = apps.get_model(label)._meta.concrete_model
    except (LookupError, ValueError):
        raise CommandError(f"There is no model {label!r}: name models as app.Model.") from None
    if not _is_reported(model):
        raise CommandError(f"The table of {label} has neither vectors nor a text index.")
    return model


def _is_reported(model: Any) -> bool:
    """Whether the table of a model has vectors, or an index of words."""
    words = any(isinstance(index, TextIndex) for index in model._meta.indexes)
    return words or any(map(_vectors, model._meta.local_concrete_fields))


def _is_used(alias: str) -> bool:
    return any(map(_is_reported, _models(alias, [])))


def _models(alias: str, models: list[Any]) -> Iterator[Any]:
    for model in models or apps.get_models():
        if not model._meta.proxy and router.allow_migrate_model(alias, model):
            yield model


def _others(engine: Engine, model: Any) -> Iterator[dict[str, Any]]:
    """The text indexes and FreshVectors of a model, and whether the database has them."""
    declared = {index.name: index for index in model._meta.indexes if isinstance(index, TextIndex)}
    for state in engine.text_index_states(model):
        index = declared.get(state.name)
        yield {
            "model": model._meta.label,
            "kind": "text index",
            "fields": list(index.fields) if index else [],
            **state._asdict(),
            "lacks": index and engine.lacking_words(index, model),
        }
    absent = engine.absent_freshness(model)
    for constraint in fresh_vectors(model):
        is_there = constraint not in absent
        yield {
            "model": model._meta.label,
            "kind": "fresh vector",
            "name": constraint.name,
            "fields": [constraint.field, *constraint.of],
            "state": "valid" if is_there else "absent",
            "problem": None if is_there else "Stale vectors are kept: there is no trigger.",
            "cure": None if is_there else engine.command(f"vector_reindex {model._meta.label}"),
        }


def _fields(alias: str, models: list[Any]) -> Iterator[tuple[Any, Any]]:
    for model in _models(alias, models):
        for field in model._meta.local_concrete_fields:
            if _vectors(field):
                yield model, field


def _vectors(field: Any) -> Any:
    """The field of the vectors in a column, which may be the output field of another; or None."""
    field = getattr(field, "output_field", None) or field
    return field if isinstance(field, AnyVectorField) else None


def _column(engine: Engine, model: Any, field: Any) -> dict[str, Any]:
    vectors = _vectors(field)
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
    """The indexes of a column, followed at the first one by undeclared ones."""
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
    if versions := ", ".join(f"{name} {version}" for name, version in found["versions"].items()):
        yield f"  {versions}" + (f" ({found['loaded']})" if "loaded" in found else "")
    for name, value in found["settings"].items():
        yield f"  {name} = {value}"
    for column in found["columns"]:
        yield _column_line(column)
        for index in column["indexes"]:
            yield _index_line(index)
            yield from _advice(index)
    for other in found["others"]:
        fields = f" ({', '.join(other['fields'])})" if other["fields"] else ""
        said = ", ".join(_parts(other))
        yield f"  {other['model']}: {other['kind']} {other['name']}{fields}, {said}"
        yield from _advice(other)


def _advice(found: dict[str, Any]) -> Iterator[str]:
    if found["problem"]:
        yield f"      {found['problem']}"
    if found["cure"]:
        yield f"      Run {found['cure']}."


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
    others = [] if index["declared"] else ["not declared"]
    return f"    {index['name']}: {', '.join([*_parts(index), *others])}"


def _parts(found: dict[str, Any]) -> Iterator[str]:
    """What is known of an index, or of a FreshVector, of which only the state is."""
    if "method" in found:
        yield found["method"]
    yield found["state"].upper() if found["state"] == "invalid" else found["state"]
    if found.get("size") is not None:
        yield _size(found["size"])
    if found.get("uses") is not None:
        yield f"{found['uses']:,} uses"
    if found.get("lacks") is not None:
        yield f"lacks {found['lacks']:,} rows"


def _size(count: float) -> str:
    place = 0
    while count >= 1000 and place < len(UNITS) - 1:
        count, place = count / 1000, place + 1
    return f"{count:,.0f} {UNITS[place]}" if not place else f"{count:,.1f} {UNITS[place]}"


def _judge(found: list[dict[str, Any]]) -> None:
    """Raise CommandError, and so exit with 1, if an index is unusable."""
    looked_at = [
        (each["database"], one["model"], state)
        for each in found
        for one in (*each["columns"], *each["others"])
        for state in one.get("indexes", [one])
    ]
    names = {
        f"{model}, {state['name']} ({alias!r}): {state['state']}": None
        for alias, model, state in looked_at
        if state["state"] in ("invalid", "damaged", "left over", "absent")
    }
    if names:
        raise CommandError(f"Unusable: {'; '.join(names)}.")
