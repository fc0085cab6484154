"""System checks: one function a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections, router

from dorm_vector import conf
from dorm_vector.engines import Engine, engine_for
from dorm_vector.indexes import METRICS, SUFFIXES, MethodIndex, vector_field

__all__ = ["register"]


# Dimensions that take as many bytes as one of float32, by field kind.
PER_FLOAT = {"vector": 1, "halfvec": 2, "bit": 32}


def register() -> None:
    """Register the checks with Django; called when the app is ready."""
    checks.register(check_settings)
    checks.register(check_engines)
    checks.register(check_indexes, checks.Tags.models)
    checks.register(check_not_built, checks.Tags.database)


def check_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    return [
        *(
            checks.Error(
                f"DORM_VECTOR has no setting {name!r}.",
                hint=f"The settings are {', '.join(conf.DEFAULTS)}.",
                id="dorm_vector.E001",
            )
            for name in conf.unknown()
        ),
        *(checks.Error(error, id="dorm_vector.E003") for error in conf.errors()),
    ]


def check_engines(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """What the engines in use have to say, once each."""
    if conf.errors():  # said already, and the engines could not read their settings
        return []
    engines = {type(engine): engine for _, engine in _engines()}
    return [message for engine in engines.values() for message in engine.check()]


def check_indexes(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Compare each index with its field: the declaration alone does not know the field."""
    return [
        message
        for model, index in _indexes(app_configs)
        for check in (
            _check_index_field,
            _check_index_opclass,
            _check_index_dimensions,
            _check_index_stage,
        )
        for message in check(model, index)
    ]


def _check_index_field(model: Any, index: MethodIndex) -> Iterator[CheckMessage]:
    if vector_field(model, index.fields[0]) is None:
        yield checks.Error(
            f"{index.name!r} needs a vector field, and {index.fields[0]!r} is none.",
            obj=model,
            id="dorm_vector.E101",
        )


def _check_index_opclass(model: Any, index: MethodIndex) -> Iterator[CheckMessage]:
    field = vector_field(model, index.fields[0])
    if field is None or index.misfit(field):
        return
    kind = index.kind_of(field)
    fitting = [f"{kind}_{SUFFIXES[name]}" for name in METRICS[index.method][kind]]
    wanted = index.opclass or f"{kind}_{index.suffix_of(index.metric)}"
    if wanted not in fitting:
        yield checks.Error(
            f"The operator class {wanted!r} of {index.name!r} does not fit {field.name!r}.",
            hint=f"Use one of {', '.join(fitting)}.",
            obj=model,
            id="dorm_vector.E102",
        )


def _check_index_stage(model: Any, index: MethodIndex) -> Iterator[CheckMessage]:
    field = vector_field(model, index.fields[0])
    if field is not None and (sentence := index.misfit(field)):
        yield checks.Error(sentence, obj=model, id="dorm_vector.E106")


def _check_index_dimensions(model: Any, index: MethodIndex) -> Iterator[CheckMessage]:
    field = vector_field(model, index.fields[0])
    if field is None:
        return
    for alias, engine in _engines(model):
        most = engine.index_dimensions.get(index.kind_of(field))
        built = engine.why_not_built(index, model) is None
        dimensions = min(field.dimensions, index.prefix or field.dimensions)
        if built and most and dimensions > most:
            yield checks.Error(
                f"{index.name!r} is over {dimensions} dimensions, and an index of "
                f"{engine.label} takes {most} at most (database {alias!r}).",
                obj=model,
                id="dorm_vector.E103",
            )


def check_btree(field: Any) -> Iterator[CheckMessage]:
    """Refuse ``unique`` and ``db_index`` where a row of the B-tree could not hold the vector."""
    if not (field.unique or field.db_index):
        return
    for alias, engine in _engines(field.model):
        # Of float32, four bytes each.
        most = int((engine.btree_dimensions or 0) * PER_FLOAT.get(field.kind, 0))
        if most and field.dimensions > most:
            yield checks.Error(
                f"A B-tree of {engine.label} holds vectors of {most} {field.values.unit} at most, "
                f"not of {field.dimensions} (database {alias!r}).",
                hint="Remove unique, primary_key and db_index from the field.",
                obj=field,
                id="dorm_vector.E104",
            )


def check_kind(field: Any) -> Iterator[CheckMessage]:
    """Refuse a field of a kind that a database has no columns for."""
    for _, engine in _engines(field.model):
        if engine.column_types and field.kind not in engine.column_types:
            yield checks.Error(engine.why_no_column(field.kind), obj=field, id="dorm_vector.E105")


def check_not_built(
    app_configs: Sequence[Any] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Say which indexes a database does not build."""
    return [
        checks.Info(
            f"{reason}: {index.name!r} is not built on the database {alias!r}, and searches read "
            "every row.",
            obj=model,
            id="dorm_vector.I101",
        )
        for model, index in _indexes(app_configs)
        for alias, engine in _engines(model)
        if alias in (databases or ()) and (reason := engine.why_not_built(index, model))
    ]


def _indexes(app_configs: Sequence[Any] | None) -> Iterator[tuple[Any, MethodIndex]]:
    for model in apps.get_models():
        if app_configs is not None and model._meta.app_config not in app_configs:
            continue
        for index in model._meta.indexes:
            if isinstance(index, MethodIndex) and index.fields:
                yield model, index


def _engines(model: Any = None) -> Iterator[tuple[str, Engine]]:
    """The engine of each database, or of those that hold ``model``. Opens no connection."""
    for alias in connections:
        if model is None or router.allow_migrate_model(alias, model):
            yield alias, engine_for(connections[alias])
