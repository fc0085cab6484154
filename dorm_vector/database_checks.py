"""System checks of the databases that ``check --database`` names, which are queried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import FieldDoesNotExist
from django.db import router
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model

from dorm_vector.declarations import may_hold_vectors
from dorm_vector.engines import Engine, engines_of
from dorm_vector.methods import MethodIndex, vector_field
from dorm_vector.text_indexes import TextIndex

__all__ = [
    "check_broken",
    "check_databases",
    "check_not_built",
    "check_tables",
    "check_text_not_built",
    "has_fields",
    "indexes",
]


def check_not_built(
    app_configs: Sequence[Any] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Report the indexes that a database does not build."""
    return [
        checks.Info(
            f"{reason}: {index.name!r} is not built on the database {alias!r}, and searches read "
            "every row.",
            obj=model,
            id="dorm_vector.I101",
        )
        for model, index in indexes(app_configs)
        for alias, engine in engines_of(model)
        if alias in (databases or ()) and (reason := engine.why_not_built(index, model))
    ]


def check_text_not_built(
    app_configs: Sequence[Any] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Report the text indexes that a database does not build; it is queried."""
    return [
        checks.Warning(
            f"{reason}: {index.name!r} is not built on the database {alias!r}, and matching() "
            f"{'reads every row' if engine.computes_text else 'raises NotSupportedError'} there.",
            hint="What is missing can be added later: vector_reindex builds the index then.",
            obj=model,
            id="dorm_vector.W131",
        )
        for model, index in indexes(app_configs, TextIndex)
        for alias, engine in engines_of(model)
        if alias in (databases or ()) and (reason := engine.why_no_text_index(index, model))
    ]


def check_broken(
    app_configs: Sequence[Any] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Report unusable indexes; those that are missing are for a migration."""
    models = {model: None for model, _ in indexes(app_configs, (MethodIndex, TextIndex))}
    return [
        checks.Warning(
            f"{state.problem} (database {alias!r})",
            hint=f"Run {state.cure}.",
            obj=model,
            id="dorm_vector.W003",
        )
        for alias, engine in engines_of()
        if alias in (databases or ())
        for model in _migrated(alias, engine, models)
        for state in (*engine.index_states(model), *engine.text_index_states(model))
        if state.is_broken
    ]


def _migrated(alias: str, engine: Engine, models: Iterable[Any]) -> list[Any]:
    """The models whose tables a database has."""
    known = [
        model
        for model in models
        if model._meta.managed
        and not model._meta.proxy
        and router.allow_migrate_model(alias, model)
    ]
    tables = engine.connection.introspection.table_names() if known else ()
    return [model for model in known if model._meta.db_table in tables]


def check_databases(
    app_configs: Any = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """What is wrong in the named databases that hold vectors; they are queried."""
    return [
        message
        for alias, engine in engines_of()
        if alias in (databases or ()) and may_hold_vectors([alias])
        for message in engine.check_database()
    ]


def check_tables(
    app_configs: Sequence[Any] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Compare the columns and indexes of a database with the models, once they are migrated."""
    return [
        message
        for alias, engine in engines_of()
        if alias in (databases or ())
        for model in _up_to_date(alias, engine, app_configs)
        for found in (_misfits, _absent, _unguarded)
        for message in found(model, engine)
    ]


def _up_to_date(alias: str, engine: Engine, app_configs: Sequence[Any] | None) -> list[Any]:
    """The models with vectors or text indexes in apps that have no unapplied migration."""
    models = [
        model
        for model in apps.get_models()
        if app_configs is None or model._meta.app_config in app_configs
        if any(vector_field(model, field.name) for field in model._meta.local_concrete_fields)
        or any(isinstance(index, TextIndex) for index in model._meta.indexes)
    ]
    migrated = _migrated(alias, engine, models)
    if not migrated:
        return []
    loader = MigrationLoader(engine.connection, ignore_no_migrations=True)
    waiting = {
        label
        for label, name in loader.disk_migrations
        if (label, name) not in loader.applied_migrations
    }
    return [model for model in migrated if model._meta.app_label not in waiting]


def _misfits(model: Any, engine: Engine) -> Iterator[CheckMessage]:
    columns = engine.vector_columns(model._meta.db_table)
    for field in model._meta.local_concrete_fields:
        declared, found = vector_field(model, field.name), columns.get(field.column)
        if declared and found and (declared.kind, declared.dimensions) != found:
            size = "any number of" if found.dimensions is None else found.dimensions
            yield checks.Error(
                f"{model._meta.label}.{field.name} is declared with {declared.dimensions} "
                f"dimensions as {declared.kind}, but its column has {size} as {found.kind} "
                f"(database {engine.connection.alias!r}).",
                hint="Run makemigrations, or correct the declaration.",
                obj=model,
                id="dorm_vector.E110",
            )


def _absent(model: Any, engine: Engine) -> Iterator[CheckMessage]:
    words = engine.text_index_states(model)
    for state in (*engine.index_states(model), *words):
        if state.state == "absent":
            raises = state in words and not engine.computes_text
            yield checks.Warning(
                f"The index {state.name!r} of {model._meta.label} is declared, but missing from "
                f"the database {engine.connection.alias!r}: "
                f"{'matching() raises OperationalError' if raises else 'searches read every row'}.",
                hint=f"Run {state.cure or 'manage.py vector_reindex ' + model._meta.label}.",
                obj=model,
                id="dorm_vector.W114",
            )


def _unguarded(model: Any, engine: Engine) -> Iterator[CheckMessage]:
    for constraint in engine.absent_freshness(model):
        yield checks.Warning(
            f"The FreshVector {constraint.name!r} of {model._meta.label} is declared, but its "
            f"trigger is missing from the database {engine.connection.alias!r}: stale vectors are "
            "kept.",
            hint=f"Run {engine.command('vector_reindex ' + model._meta.label)}.",
            obj=model,
            id="dorm_vector.W118",
        )


def indexes(
    app_configs: Sequence[Any] | None, index_class: Any = MethodIndex
) -> Iterator[tuple[Any, Any]]:
    """The indexes of a class over fields that exist, each with its model."""
    for model in apps.get_models():
        if app_configs is not None and model._meta.app_config not in app_configs:
            continue
        for index in model._meta.indexes:
            if isinstance(index, index_class) and index.fields and has_fields(model, index):
                yield model, index


def has_fields(model: type[Model], index: Any) -> bool:
    """Whether the fields of an index exist; Django itself reports those that do not."""
    try:
        return all(model._meta.get_field(name) for name in index.fields)
    except FieldDoesNotExist:
        return False
