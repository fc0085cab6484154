"""System checks: one function for each message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.checks import CheckMessage
from django.db import router
from django.db.models import Expression, Model

from dorm_vector import conf
from dorm_vector.anyvector import AnyVectorField
from dorm_vector.database_checks import (
    check_broken,
    check_databases,
    check_not_built,
    check_tables,
    check_text_not_built,
    has_fields,
    indexes,
)
from dorm_vector.declarations import may_hold_vectors
from dorm_vector.engines import Engine, engines_of
from dorm_vector.engines.base.freshness import asked_first, fresh_vectors
from dorm_vector.engines.base.search import least_components
from dorm_vector.functions import VectorFunction
from dorm_vector.methods import MethodIndex, vector_field
from dorm_vector.migration_checks import check_empty_clusters, check_extension_migrations
from dorm_vector.text_indexes import TextIndex, text_field

__all__ = ["register"]


# ``manage.py check --tag dorm_vector`` runs these alone.
TAG = "dorm_vector"


def register() -> None:
    """Register the checks with Django; called when the app is ready."""
    checks.register(check_settings, TAG)
    checks.register(check_engines, TAG)
    checks.register(check_connections, TAG)
    # What needs no action is reported on request, not by every command.
    checks.register(check_details, TAG, deploy=True)
    checks.register(check_indexes, checks.Tags.models, TAG)
    checks.register(check_text_indexes, checks.Tags.models, TAG)
    checks.register(check_names, checks.Tags.models, TAG)
    checks.register(check_definitions, checks.Tags.models, TAG)
    checks.register(check_freshness, checks.Tags.models, TAG)
    checks.register(check_not_built, checks.Tags.database, TAG)
    checks.register(check_text_not_built, checks.Tags.database, TAG)
    checks.register(check_databases, checks.Tags.database, TAG)
    checks.register(check_tables, checks.Tags.database, TAG)
    checks.register(check_equal_indexes, checks.Tags.models, TAG)
    checks.register(check_metrics, checks.Tags.models, TAG)
    checks.register(check_coarse, checks.Tags.models, TAG)
    checks.register(check_extension_migrations, checks.Tags.models, TAG)
    checks.register(check_empty_clusters, checks.Tags.models, TAG)
    checks.register(check_broken, checks.Tags.database, TAG)


def check_settings(app_configs: Any = None, **kwargs: object) -> list[CheckMessage]:
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


def check_engines(app_configs: Any = None, **kwargs: object) -> list[CheckMessage]:
    """
    What is wrong with the engines in use, each reported once.

    Warnings are for databases that may hold vectors: others lack nothing.
    """
    return [
        message
        for aliases, message in _messages()
        if message.is_serious() or (message.level > checks.INFO and may_hold_vectors(aliases))
    ]


def check_connections(app_configs: Any = None, **kwargs: object) -> list[CheckMessage]:
    """What is wrong with the settings of each database that may hold vectors."""
    if conf.errors():
        return []
    indexed = {alias for model, _ in indexes(None) for alias, _ in engines_of(model)}
    return [
        message
        for alias, engine in engines_of()
        if may_hold_vectors([alias])
        for message in engine.check_settings(is_indexed=alias in indexed)
    ]


def check_details(app_configs: Any = None, **kwargs: object) -> list[CheckMessage]:
    """How the engines in use work."""
    return [message for _, message in _messages() if message.level <= checks.INFO]


def _messages() -> Iterator[tuple[list[str], CheckMessage]]:
    """What each engine has to say, with the databases that it serves."""
    if conf.errors():  # reported already, and the engines could not read their settings
        return
    engines: dict[type[Engine], list[Engine]] = {}
    for _, engine in engines_of():
        engines.setdefault(type(engine), []).append(engine)
    for alike in engines.values():
        aliases = [engine.connection.alias for engine in alike]
        for message in alike[0].check():
            yield aliases, message


def check_indexes(app_configs: Sequence[Any] | None = None, **kwargs: object) -> list[CheckMessage]:
    """Compare each index with its field, which the declaration alone does not know."""
    return [message for model, index in indexes(app_configs) for message in index.problems(model)]


def check_definitions(
    app_configs: Sequence[Any] | None = None, **kwargs: object
) -> list[CheckMessage]:
    """Refuse functions that a database cannot store in columns, constraints and indexes."""
    return [
        checks.Error(
            f"{model._meta.object_name}.{name}: {reason} (database {alias!r}).",
            obj=model,
            id="dorm_vector.E108",
        )
        for model in apps.get_models()
        if app_configs is None or model._meta.app_config in app_configs
        for name, expression in _definitions(model)
        for alias, engine in engines_of(model)
        for function in _functions_in(expression)
        if (reason := engine.why_not_stored(function.name, function.sql))
    ]


def _definitions(model: Any) -> Iterator[tuple[str, Any]]:
    """The expressions that a model has its database store, with the names of their owners."""
    for field in model._meta.local_fields:
        if field.generated:
            yield field.name, field.expression
    for each in (*model._meta.constraints, *model._meta.indexes):
        condition = getattr(each, "condition", None)
        for expression in (*(getattr(each, "expressions", None) or ()), condition):
            yield each.name, expression


def _functions_in(expression: Expression) -> Iterator[VectorFunction]:
    if hasattr(expression, "flatten"):
        yield from (each for each in expression.flatten() if isinstance(each, VectorFunction))


def check_freshness(
    app_configs: Sequence[Any] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: object,
) -> list[CheckMessage]:
    """
    Compare each FreshVector with its model, and with the model's others.

    Django asks them itself for each database that is named, and the first one says it.
    """
    return [
        message
        for model in apps.get_models()
        if app_configs is None or model._meta.app_config in app_configs
        if asked_first(model) not in (databases or ())
        for constraint in fresh_vectors(model)
        for message in constraint.check(model)
    ]


def check_text_indexes(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Compare each TextIndex with its fields, which the declaration alone does not know."""
    return [
        checks.Error(
            f"{index.name!r} needs text fields, not the {type(field).__name__} {name!r}.",
            hint="Index fields of CharField, TextField and their subclasses.",
            obj=model,
            id="dorm_vector.E131",
        )
        for model, index in indexes(app_configs, TextIndex)
        for name in index.fields
        # Django itself reports fields that do not exist.
        for field in model._meta.get_fields()
        if field.name == name and text_field(model, name) is None
    ]


def check_names(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an index that needs a name which another part of the project has."""
    clashes: dict[tuple[int, str], CheckMessage] = {}
    bearers = {alias: _bearers(alias, engine) for alias, engine in engines_of()}
    for model, index in indexes(app_configs, MethodIndex | TextIndex):
        for alias, engine in engines_of(model):
            for name in _names_made(engine, index, model):
                for declared, bearer in bearers[alias].get(engine.same_name(name), ()):
                    # Django itself reports two indexes of the same name.
                    if declared is not index and getattr(declared, "name", None) != index.name:
                        message = _clash(model, index, name, alias, bearer)
                        clashes.setdefault((id(index), name), message)
    return list(clashes.values())


def _clash(model: Any, index: Any, name: str, alias: str, bearer: str) -> CheckMessage:
    return checks.Error(
        f"{index.name!r} needs the name {name!r} on the database {alias!r}, which {bearer} already "
        "has.",
        hint="Rename the index: everything that is made for it is named after it.",
        obj=model,
        id="dorm_vector.E107",
    )


def _bearers(alias: str, engine: Engine) -> dict[str, list[tuple[Any, str]]]:
    """What the project declares for a database, with the model that declares it, by name."""
    found: dict[str, list[tuple[Any, str]]] = {}
    for model in apps.get_models(include_auto_created=True):
        if model._meta.proxy or not router.allow_migrate_model(alias, model):
            continue
        for declared, noun, name in _declared(engine, model):
            bearer = f"{noun} of {model._meta.label}"
            found.setdefault(engine.same_name(name), []).append((declared, bearer))
    return found


def _declared(engine: Engine, model: type[Model]) -> Iterator[tuple[Any, str, str]]:
    yield model, "the table", model._meta.db_table
    for constraint in model._meta.constraints:
        yield constraint, "a constraint", constraint.name
    for index in model._meta.indexes:
        names = (
            _names_made(engine, index, model) if isinstance(index, MethodIndex | TextIndex) else ()
        )
        for name in names or [index.name]:
            yield index, "an index", name


def _names_made(engine: Engine, index: Any, model: Any) -> list[str]:
    """The names that an index takes if it is built."""
    field_of = text_field if isinstance(index, TextIndex) else vector_field
    known = has_fields(model, index) and all(
        field_of(model, name) is not None for name in index.fields[:1]
    )
    return engine.made_names(index) if known and not engine.why_not_built(index, model) else []


def check_equal_indexes(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Find indexes of a model that differ only in their names."""
    found: dict[Any, MethodIndex] = {}
    messages: list[CheckMessage] = []
    for model, index in indexes(app_configs):
        path, expressions, options = index.deconstruct()
        options.pop("name")
        first = found.setdefault((model, repr((path, expressions, options))), index)
        if first is not index:
            messages.append(
                checks.Warning(
                    f"The indexes {first.name!r} and {index.name!r} are the same.",
                    hint="Remove one of them: both are built, kept up to date and take up space.",
                    obj=model,
                    id="dorm_vector.W111",
                )
            )
    return messages


def check_metrics(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Find indexes for a metric that a database has no distance for: searches by it raise."""
    return [
        checks.Warning(
            f"{index.name!r} is for the metric {index.metric!r}, which {engine.label} does not "
            f"have (database {alias!r}): searches by it raise NotSupportedError there.",
            hint=engine.alternatives.get(index.metric) or "Use another metric.",
            obj=model,
            id="dorm_vector.W115",
        )
        for model, index in indexes(app_configs)
        for alias, engine in engines_of(model)
        if engine.distances and index.metric not in engine.distances
    ]


def check_coarse(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Find indexes that hold too little of a vector for the candidates that they name."""
    return [
        checks.Warning(
            f"{index.name!r} holds {_held(index, field)}, too few for nearest() to find 95 % of "
            "the nearest rows of real text by its defaults.",
            hint=_more(index, least),
            obj=model,
            id="dorm_vector.W117",
        )
        for model, index in indexes(app_configs)
        if (field := vector_field(model, index.fields[0])) and not index.misfit(field)
        if (least := least_components(index.reduction, field.dimensions))
        if index.dimensions_of(field) < least and _names_candidates(index, model)
    ]


def _names_candidates(index: MethodIndex, model: type[Model]) -> bool:
    """Whether any database of the model builds the index over less than the vectors."""
    return any(
        engine.names_candidates and engine.why_not_built(index, model) is None
        for _, engine in engines_of(model)
    )


def _held(index: MethodIndex, field: AnyVectorField) -> str:
    if index.prefix:
        return f"the first {index.prefix} of {field.dimensions} components"
    return f"the signs of {field.dimensions} components"


def _more(index: MethodIndex, least: int) -> str:
    """What to declare instead, where ``least`` components would do."""
    bytes_fit = "int8" in index.precisions and index.metric == "cosine"
    ways = [
        *([f"prefix={least} or more"] if index.prefix else []),
        f'precision="{"int8" if bytes_fit else "half"}"',
        "a larger oversample= in nearest(), as manage.py vector_recall measures it",
    ]
    return f"Use {', or '.join(ways)}."
