"""What vector indexes of all methods have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import FieldError
from django.db import NotSupportedError
from django.db.models import Field, Index, Model
from django.utils.functional import cached_property

from dorm_vector.engines import Engine, engines_of
from dorm_vector.fields import AnyVectorField
from dorm_vector.index_base import EngineIndex
from dorm_vector.kinds import DENSE_KINDS
from dorm_vector.options import Option
from dorm_vector.registry import METHODS, METRICS, register
from dorm_vector.types import Deconstructed

__all__ = ["MethodIndex", "declared_indexes", "vector_field"]

# Types that migrations can write; numpy has subclasses of float that they cannot.
PLAIN = (int, float, str)

# What pgvector's types make of a precision: they have no bytes, of which float16 has room for all.
REDUCTIONS: dict[str, str | None] = {"half": "half", "int8": "half", "bit": "bit", "full": None}


class MethodIndex(EngineIndex):
    """
    An index of one method of pgvector's; databases that lack the method build nothing.

    ``metric`` is the distance that the index serves: "l2" (the default), "cosine", "ip" or "l1".
    ``opclass`` or ``opclasses``, pgvector's own spelling, names it too: "vector_cosine_ops". The
    operator class that is written follows from the field, the metric and the precision.

    ``precision="half"`` indexes the vectors rounded to float16: half the size, and up to 4,000
    dimensions instead of 2,000. ``precision="bit"`` indexes the signs of their components, and
    ``prefix`` only that many leading components, which is enough for Matryoshka embeddings.
    ``nearest()`` re-ranks what such a coarse index finds by the true distance.
    """

    #: The name of the method. A subclass that has one is registered under it: ``search_params()``,
    #: ``nearest()`` and checks know it.
    method: ClassVar[str] = ""
    #: Whether the index stands for the best that each database has.
    portable: ClassVar[bool] = False
    #: By field kind, the metrics that it serves; see ``Distance.indexed_by`` too.
    metrics: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: What the index is built with, all of it optional.
    options: ClassVar[Mapping[str, Option]] = {}
    #: What ``nearest()`` and ``search_params()`` take for searches of such indexes.
    search_options: ClassVar[Mapping[str, Option]] = {}
    #: The names of engines with pgvector's types whose databases build it by ``USING`` the method,
    #: in addition to an engine's own methods.
    engines: ClassVar[frozenset[str]] = frozenset()
    #: The most dimensions by field kind, if they differ from an engine's other indexes.
    max_dimensions: ClassVar[Mapping[str, int]] = {}
    #: Whether its scans deliver the nearest row first.
    is_ordered: ClassVar[bool] = True
    #: The values of ``precision``.
    precisions: ClassVar[tuple[str, ...]] = ("half", "bit")
    #: The search option that says how many candidates a scan keeps: ``nearest()`` raises it where
    #: more rows are wanted.
    candidates_option: ClassVar[str | None] = None
    #: How many candidates a scan needs for each row: some where vectors are compressed.
    candidates_per_row: ClassVar[int] = 1

    def __init__(
        self,
        *expressions: Any,
        opclass: str | None = None,
        opclasses: Sequence[str] = (),
        metric: str | None = None,
        precision: str | None = None,
        prefix: int | None = None,
        **kwargs: Any,
    ) -> None:
        for option in self.options:
            setattr(self, option, kwargs.pop(option, None))
        super().__init__(*expressions, **kwargs)
        self.opclass = self._only_opclass(opclass, opclasses)
        self.metric = self._only_metric(metric)
        self.precision, self.prefix = precision, prefix
        self._check_columns()
        self._check_options()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name, option in {**cls.options, **cls.search_options}.items():
            if not isinstance(option, Option):
                raise TypeError(
                    f"{cls.__name__} declares the option {name!r} as {option!r}: use Int, Float "
                    "or Word "
                    "of dorm_vector.options."
                )
        if "method" in vars(cls):
            register(METHODS, cls.method, cls)

    @cached_property
    def max_name_length(self) -> int:  # type: ignore[override]
        # What Django's own PostgreSQL indexes allow: a suffix may be longer than three characters.
        return Index.max_name_length - len(Index.suffix) + len(self.suffix)

    def deconstruct(self) -> Deconstructed:
        path, expressions, kwargs = super().deconstruct()
        if self.metric:
            kwargs["metric"] = self.metric
        if self.precision:
            kwargs["precision"] = self.precision
        if self.prefix:
            kwargs["prefix"] = self.prefix
        return path, expressions, {**kwargs, **self.parameters()}

    def parameters(self, of: str | None = None) -> dict[str, int | float | str]:
        """The given options, or only those of one part of the index; see ``Option.of``."""
        given = {
            name: getattr(self, name)
            for name, option in self.options.items()
            if of in (None, option.of)
        }
        return {name: value for name, value in given.items() if value is not None}

    def opclasses_for(self, model: type[Model]) -> list[str]:
        """The operator class for the field of ``model``, in a list as Django expects."""
        if self.expressions:  # django.contrib.postgres.indexes.OpClass names it there
            return []
        field = self.vector_field(model)
        if sentence := self.misfit(field):
            raise FieldError(sentence)
        expected = self.expected_opclass(field)
        if self.opclass not in (None, expected):
            raise FieldError(
                f"The operator class {self.opclass!r} of {self.name!r} does not fit "
                f"{model._meta.label}.{self.fields[0]}; use {expected!r}."
            )
        return [expected]

    def vector_field(self, model: type[Model]) -> AnyVectorField:
        """The indexed field of ``model``. Raises FieldError if it holds no vectors."""
        field = vector_field(model, self.fields[0])
        if field is None:
            raise FieldError(
                f"{self!r} needs a vector field, and {model._meta.label}.{self.fields[0]} is not "
                "one."
            )
        return field

    def misfit(self, field: AnyVectorField) -> str | None:
        """Why a reduction does not fit a field, in one sentence; None if it does."""
        if self.reduction and field.kind not in DENSE_KINDS:
            option = "prefix" if self.prefix else "precision"
            return f"{self.name!r} has {option}, which is for vectors of numbers, not {field.kind}."
        if self.prefix and self.prefix > field.dimensions:
            return (
                f"{self.name!r} is over the first {self.prefix} components, and {field.name!r} has "
                f"{field.dimensions}."
            )
        return None

    @property
    def reduction(self) -> str | int | None:
        """What a coarse index holds of a vector: "half", "bit" or a number of first components."""
        return self.prefix or REDUCTIONS.get(self.precision or "")

    def other_columns(self) -> dict[str, str]:
        """The fields that are indexed besides the vector, with their operator classes."""
        return {}

    def dimensions_of(self, field: AnyVectorField) -> int:
        """How many components of a field's vectors are indexed."""
        return min(field.dimensions, self.prefix or field.dimensions)

    def kind_of(self, field: AnyVectorField) -> str:
        """The field kind that is indexed: the field's own, unless it is reduced."""
        reduced = REDUCTIONS.get(self.precision or "")
        return {"half": "halfvec", "bit": "bit"}.get(reduced or "", field.kind)

    def expected_opclass(self, field: AnyVectorField) -> str:
        """The operator class that serves the metric of the index over a field."""
        metric = "hamming" if self.precision == "bit" else self.metric
        return self.operator_class(self.kind_of(field), metric)

    @classmethod
    def operator_class(cls, kind: str, metric: str) -> str:
        """The name of the operator class for a field kind and a metric."""
        return f"{kind}_{METRICS[metric].operator_class}"

    @classmethod
    def operator_classes(cls, kind: str) -> dict[str, str]:
        """All operator classes of the method for a field kind, with the metrics they are for."""
        own = [m for m, metric in METRICS.items() if kind in metric.indexed_by.get(cls.method, ())]
        return {cls.operator_class(kind, m): m for m in (*cls.metrics.get(kind, ()), *own)}

    @classmethod
    def all_operator_classes(cls) -> dict[str, str]:
        kinds = {kind for metric in METRICS.values() for kind in metric.kinds}
        return {name: m for kind in kinds for name, m in cls.operator_classes(kind).items()}

    def problems(self, model: type[Model]) -> Iterator[CheckMessage]:
        """What the checks report about the index of a model, which knows its field only now."""
        field = vector_field(model, self.fields[0])
        if field is None:
            yield checks.Error(
                f"{self.name!r} needs a vector field, and {self.fields[0]!r} is not one.",
                obj=model,
                id="dorm_vector.E101",
            )
            return
        if sentence := self.misfit(field):
            yield checks.Error(sentence, obj=model, id="dorm_vector.E106")
        else:
            yield from self._check_opclass(model, field)
        for alias, engine in engines_of(model):
            if engine.why_not_built(self, model) is None:
                yield from self._check_built(model, field, alias, engine)

    def _check_opclass(self, model: type[Model], field: AnyVectorField) -> Iterator[CheckMessage]:
        fitting = self.operator_classes(self.kind_of(field))
        wanted = self.opclass or self.expected_opclass(field)
        if wanted not in fitting:
            kinds = "a field of another kind: the method has no operator class for this one"
            yield checks.Error(
                f"The operator class {wanted!r} of {self.name!r} does not fit {field.name!r}.",
                hint=f"Use {'one of ' + ', '.join(fitting) if fitting else kinds}.",
                obj=model,
                id="dorm_vector.E102",
            )

    def _line_that_fits(self, field: AnyVectorField, engine: Engine) -> str | None:
        """The declaration of this index at a precision that has room for a field, to be pasted."""
        for precision in ("half", "bit"):
            given = self._options_with(precision=precision)
            index = type(self)(*self.expressions, **given)
            kind = index.kind_of(field)
            most = engine.most_dimensions(index, kind)
            fits = most is not None and field.dimensions <= most
            if fits and kind != self.kind_of(field) and index.misfit(field) is None:
                return self._line(given)
        return None

    def _options_with(self, **changes: Any) -> dict[str, Any]:
        _, _, options = self.deconstruct()
        options.pop("opclasses", None)
        return {**options, "metric": self.metric, **changes}

    def _line(self, options: Mapping[str, Any]) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return f"{type(self).__name__}({listed})"

    def _check_built(
        self, model: type[Model], field: AnyVectorField, alias: str, engine: Engine
    ) -> Iterator[CheckMessage]:
        """What depends on the database that builds the index."""
        most = engine.most_dimensions(self, self.kind_of(field))
        dimensions = self.dimensions_of(field)
        if most and dimensions > most:
            yield checks.Error(
                f"{self.name!r} is over {dimensions} dimensions, and an index of "
                f"{engine.label} takes {most} at most (database {alias!r}).",
                hint=self._line_that_fits(field, engine),
                obj=model,
                id="dorm_vector.E103",
            )
        for sentence in self.refused_options(engine):
            message = f"{sentence} (database {alias!r})."
            yield checks.Error(message, obj=model, id="dorm_vector.E109")

    def refused_options(self, engine: Engine) -> Iterator[str]:
        """Why a database does not take an option, in sentences without a full stop."""
        for name, value in self.parameters().items():
            taken = engine.own(self.options[name].engines)
            if taken is not None and not taken.takes(value):
                yield f"{engine.label} takes {name} {taken.phrase}, and {self.name!r} has {value!r}"

    def check_fit(self, model: type[Model], engine: Engine) -> None:
        self.opclasses_for(model)
        for sentence in self.refused_options(engine):
            raise NotSupportedError(f"{sentence}.")

    def _only_opclass(self, opclass: str | None, opclasses: Sequence[str]) -> str | None:
        given = [*([opclass] if opclass else []), *opclasses]
        if len(set(given)) > 1:
            raise ValueError(f"{self._label} takes one operator class, not {given!r}.")
        return given[0] if given else None

    def _only_metric(self, metric: str | None) -> str:
        if self.expressions:
            return self._no_metric(metric)
        named = [name for name in (metric, self._metric_of_opclass()) if name]
        if len(set(named)) > 1:
            raise ValueError(
                f"{self._label} got the metric {metric!r} and the operator class "
                f"{self.opclass!r}, which is for {named[1]!r}."
            )
        found = named[0] if named else "l2"
        known = sorted(set(self.all_operator_classes().values()))
        if found not in known:
            raise ValueError(
                f"{self._label} has no metric {found!r}; use one of {', '.join(known)}."
            )
        return found

    def _no_metric(self, metric: str | None) -> str:
        if metric or self.opclass or len(self.expressions) != 1:
            raise ValueError(
                f"{self._label} takes one expression, with its operator class in an OpClass()."
            )
        return ""

    def _metric_of_opclass(self) -> str | None:
        if self.opclass is None:
            return None
        names = self.all_operator_classes()
        if self.opclass not in names:
            raise ValueError(
                f"{self._label} has no operator class {self.opclass!r}; "
                f"use one of {', '.join(sorted(names))}."
            )
        return names[self.opclass]

    def _check_columns(self) -> None:
        self._check_name()
        if not self.expressions and len(self.fields) != 1:
            raise ValueError(f"{self._label} takes one field, not {self.fields!r}.")
        self._refuse_order()
        if self.include:
            raise ValueError(f"{self._label} cannot include other columns: {self.include!r}.")

    def _check_options(self) -> None:
        taken = self.precision in (None, *self.precisions)
        if not taken or (self.expressions and (self.precision or self.prefix)):
            *others, last = [f'"{name}"' for name in self.precisions]
            raise ValueError(
                f"{self._label} takes precision={', '.join(others)} or {last} over a field, "
                f"not {self.precision!r}."
            )
        if self.prefix is not None and (type(self.prefix) is not int or self.prefix < 1):
            raise ValueError(f"{self._label} needs a prefix of 1 or more, not {self.prefix!r}.")
        if self.prefix and self.precision:
            raise ValueError(f"{self._label} takes either precision or prefix, not both.")
        for name, value in self.parameters().items():
            if type(value) not in PLAIN or not self.options[name].takes(value):
                raise ValueError(
                    f"{self._label} takes {name} {self.options[name].phrase}, not {value!r}."
                )


def declared_indexes(field: Field) -> Iterator[MethodIndex]:
    """The vector indexes that the model of ``field`` declares for it."""
    model = getattr(field, "model", None)
    for index in model._meta.indexes if model else ():
        if isinstance(index, MethodIndex) and index.fields == [field.name]:
            yield index


def vector_field(model: type[Model], name: str) -> AnyVectorField | None:
    """The vector field of that name, or of a GeneratedField's output, or None."""
    field = model._meta.get_field(name)
    field = getattr(field, "output_field", None) or field
    return field if isinstance(field, AnyVectorField) else None
