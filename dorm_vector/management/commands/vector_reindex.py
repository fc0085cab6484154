"""``manage.py vector_reindex``: rebuild the indexes of vectors and of words."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections, router
from django.db.models import Model

from dorm_vector.engines import Engine, engine_for
from dorm_vector.engines.base.freshness import fresh_vectors
from dorm_vector.engines.base.inspection import Progress
from dorm_vector.management.arguments import add_database, as_json, database, reached
from dorm_vector.management.running import INTERRUPTED, progress_bar
from dorm_vector.methods import MethodIndex
from dorm_vector.text_indexes import TextIndex

__all__ = ["Command"]


class Command(BaseCommand):
    help = (
        "Rebuilds vector and text indexes from the rows of their tables: all of a database, or "
        "those of the models named. Drops what is left of those that the database does not build, "
        "and makes missing triggers of FreshVectors."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("models", metavar="app.Model", nargs="*", help="Models; all by default")
        add_database(parser)
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        alias = database(options["database"])
        models = [_named(label, alias) for label in options["models"]]
        with reached(alias):
            tables = connections[alias].introspection.table_names()
        for model in models:
            if model._meta.db_table not in tables:
                raise CommandError(f"{_missing(model, alias)}: migrate first.")
        self.lines: list[dict[str, Any]] | None = [] if options["json"] else None
        for model in models or _all(alias):
            if model._meta.db_table not in tables:
                self._tell(model, None, _missing(model, alias))
                continue
            engine = engine_for(connections[alias])
            for index in _indexes(model):
                self._reindex(engine, model, index, options["verbosity"])
            self._keep_fresh(engine, model)
        if self.lines is not None:
            self.stdout.write(as_json(self.lines))

    def _reindex(
        self, engine: Engine, model: Any, index: MethodIndex | TextIndex, verbosity: int
    ) -> None:
        try:
            with progress_bar(verbosity, desc=index.name, unit=" blocks") as bar:
                reason = engine.reindex(index, model, _shown(bar))
        except DatabaseError as error:
            raise CommandError(f"{model._meta.label}, {index.name}: {error}") from error
        except KeyboardInterrupt:
            raise CommandError(
                f"{model._meta.label}, {index.name}: stopped; run the command again.",
                returncode=INTERRUPTED,
            ) from None
        made = f"not built here ({reason})" if reason else "rebuilt"
        self._tell(model, index, f"{model._meta.label}, {index.name}: {made}")

    def _keep_fresh(self, engine: Engine, model: Any) -> None:
        """Make the triggers of FreshVectors that are missing."""
        for constraint in engine.absent_freshness(model):
            label = f"{model._meta.label}, {constraint.name}"
            try:
                with engine.connection.schema_editor() as editor:
                    editor.add_constraint(model, constraint)
            except (DatabaseError, FieldError) as error:
                raise CommandError(f"{label}: {error}") from error
            self._tell(model, constraint, f"{label}: made; vectors that are there may be stale")

    def _tell(self, model: Any, index: Any, line: str) -> None:
        if self.lines is None:
            self.stdout.write(line)
            return
        name = index and index.name
        self.lines.append({"model": model._meta.label, "index": name, "result": line})


def _shown(bar: Any) -> Callable[[Progress], object] | None:
    """What shows the progress that the database reports."""
    if bar is None:
        return None

    def show(progress: Progress) -> None:
        if bar.total != progress.total:
            bar.reset(progress.total)
        bar.set_postfix_str(progress.phase)
        bar.update(progress.done - bar.n)

    return show


def _missing(model: type[Model], alias: str) -> str:
    return f"{model._meta.label}: its table is not in the database {alias!r}"


def _named(label: str, alias: str) -> Any:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        raise CommandError(f"There is no model {label!r}: name models as app.Model.") from None
    model = model._meta.concrete_model
    if not _concerns(model):
        raise CommandError(f"{model._meta.label} has no vector index.")
    if not router.allow_migrate_model(alias, model):
        raise CommandError(f"{model._meta.label} does not belong to the database {alias!r}.")
    return model


def _all(alias: str) -> Iterator[Any]:
    for model in apps.get_models():
        known = model._meta.managed and not model._meta.proxy
        if known and _concerns(model) and router.allow_migrate_model(alias, model):
            yield model


def _concerns(model: Any) -> bool:
    return bool(_indexes(model) or fresh_vectors(model))


def _indexes(model: Any) -> list[MethodIndex | TextIndex]:
    return [index for index in model._meta.indexes if isinstance(index, MethodIndex | TextIndex)]
