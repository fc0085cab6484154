"""``manage.py vector_reindex``: make the vector indexes of models anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router

from dorm_vector.engines import Engine, engine_for
from dorm_vector.indexes import MethodIndex

__all__ = ["Command"]


class Command(BaseCommand):
    help = (
        "Makes the vector indexes of models anew from the rows of their tables: all of a database, "
        "or those of the models that are named. Takes those off that the database does not build."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("models", metavar="app.Model", nargs="*", help="Models; all by default")
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help='A database; "default" by default.'
        )

    def handle(self, *args: Any, **options: Any) -> None:
        alias = options["database"]
        if alias not in connections:
            known = ", ".join(map(repr, connections))
            raise CommandError(f"There is no database {alias!r} in the settings; use {known}.")
        models = [_named(label, alias) for label in options["models"]]
        tables = connections[alias].introspection.table_names()
        for model in models:
            if model._meta.db_table not in tables:
                raise CommandError(f"{_missing(model, alias)}: migrate first.")
        for model in models or _all(alias):
            if model._meta.db_table not in tables:
                self.stdout.write(_missing(model, alias))
                continue
            for index in _indexes(model):
                self._reindex(engine_for(connections[alias]), model, index)

    def _reindex(self, engine: Engine, model: Any, index: MethodIndex) -> None:
        try:
            reason = engine.reindex(index, model)
        except DatabaseError as error:
            raise CommandError(f"{model._meta.label}, {index.name}: {error}") from error
        made = f"not built here ({reason})" if reason else "made anew"
        self.stdout.write(f"{model._meta.label}, {index.name}: {made}")


def _missing(model: Any, alias: str) -> str:
    return f"{model._meta.label}: its table is not in the database {alias!r}"


def _named(label: str, alias: str) -> Any:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        raise CommandError(f"There is no model {label!r}: name models as app.Model.") from None
    model = model._meta.concrete_model
    if not _indexes(model):
        raise CommandError(f"{model._meta.label} has no vector index.")
    if not router.allow_migrate_model(alias, model):
        raise CommandError(f"{model._meta.label} is not of the database {alias!r}.")
    return model


def _all(alias: str) -> Iterator[Any]:
    for model in apps.get_models():
        known = model._meta.managed and not model._meta.proxy
        if known and _indexes(model) and router.allow_migrate_model(alias, model):
            yield model


def _indexes(model: Any) -> list[MethodIndex]:
    return [index for index in model._meta.indexes if isinstance(index, MethodIndex)]
