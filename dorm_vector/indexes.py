"""Approximate nearest-neighbour indexes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.exceptions import FieldError
from django.db.models import Index
from django.utils.functional import cached_property

from dorm_vector.engines import engine_for
from dorm_vector.fields import AnyVectorField

__all__ = ["HnswIndex", "IvfflatIndex", "MethodIndex", "VectorIndex", "declared_indexes"]

# Operator classes are named <kind>_<suffix>, after the field kind and these suffixes by metric.
# Source: https://github.com/pgvector/pgvector#indexing
SUFFIXES = {
    "l2": "l2_ops",
    "cosine": "cosine_ops",
    "ip": "ip_ops",
    "l1": "l1_ops",
    "hamming": "hamming_ops",
    "jaccard": "jaccard_ops",
}
FLOATS = ("l2", "cosine", "ip", "l1")

# Field kinds, and the metrics for which each index method has an operator class.
HNSW: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("vector", "halfvec", "sparsevec"), FLOATS),
    "bit": ("hamming", "jaccard"),
}
METRICS: dict[str, dict[str, tuple[str, ...]]] = {
    "vector": HNSW,
    "hnsw": HNSW,
    "ivfflat": {
        **dict.fromkeys(("vector", "halfvec"), ("l2", "cosine", "ip")),
        "bit": ("hamming",),
    },
}


class MethodIndex(Index):
    """
    An index of one method of pgvector's; databases that lack the method build nothing.

    ``metric`` is the distance that the index serves: "l2" (the default), "cosine", "ip" or "l1".
    ``opclass`` or ``opclasses``, pgvector's own spelling, name it as well: "vector_cosine_ops".
    The operator class that is written follows from the field, the metric and the precision.

    ``precision="half"`` indexes the vectors rounded to float16: half the size, and up to 4,000
    dimensions instead of 2,000. ``precision="bit"`` indexes the signs of their components, and
    ``prefix`` that many of their first components, which is enough for embeddings of the
    Matryoshka kind. ``nearest()`` orders what such an index finds by the true distance.
    """

    method: ClassVar[str] = ""
    #: Whether the index stands for the best one that a database has.
    portable: ClassVar[bool] = False
    #: Storage parameters, with the least and the greatest value that pgvector takes.
    options: ClassVar[dict[str, tuple[int, int]]] = {}

    def __init__(
        self,
        *expressions: Any,
        opclass: str | None = None,
        opclasses: Any = (),
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

    @cached_property
    def max_name_length(self) -> int:  # type: ignore[override]
        # What Django's own PostgreSQL indexes allow: a suffix may be longer than three characters.
        return Index.max_name_length - len(Index.suffix) + len(self.suffix)

    def deconstruct(self) -> Any:
        path, expressions, kwargs = super().deconstruct()
        if self.metric:
            kwargs["metric"] = self.metric
        if self.precision:
            kwargs["precision"] = self.precision
        if self.prefix:
            kwargs["prefix"] = self.prefix
        return path, expressions, {**kwargs, **self.storage_parameters()}

    def storage_parameters(self) -> dict[str, int]:
        """The options that were given, as the index's WITH clause takes them."""
        given = {option: getattr(self, option) for option in self.options}
        return {option: value for option, value in given.items() if value is not None}

    def opclasses_for(self, model: Any) -> list[str]:
        """The operator class for the field of ``model``, in a list as Django has it."""
        if self.expressions:  # django.contrib.postgres.indexes.OpClass says it there
            return []
        field = self.vector_field(model)
        if sentence := self.misfit(field):
            raise FieldError(sentence)
        expected = f"{self.kind_of(field)}_{self.suffix_of(self.metric)}"
        if self.opclass not in (None, expected):
            raise FieldError(
                f"The operator class {self.opclass!r} of {self.name!r} does not fit "
                f"{model._meta.label}.{self.fields[0]}; use {expected!r}."
            )
        return [expected]

    def vector_field(self, model: Any) -> AnyVectorField:
        """The field of ``model`` that is indexed. Raises FieldError where it holds no vectors."""
        field = vector_field(model, self.fields[0])
        if field is None:
            raise FieldError(
                f"{self!r} needs a vector field, and {model._meta.label}.{self.fields[0]} is none."
            )
        return field

    def misfit(self, field: AnyVectorField) -> str | None:
        """Why ``precision`` or ``prefix`` cannot be of a field, a sentence; None where they can."""
        if self.stage and field.kind not in ("vector", "halfvec"):
            option = "prefix" if self.prefix else "precision"
            return f"{self.name!r} has {option}, which is for vectors of numbers, not {field.kind}."
        if self.prefix and self.prefix > field.dimensions:
            return (
                f"{self.name!r} is over the first {self.prefix} components, and {field.name!r} has "
                f"{field.dimensions}."
            )
        return None

    @property
    def stage(self) -> str | int | None:
        """What is indexed of a vector, "half", "bit" or a number of components; None: all of it."""
        return self.prefix or self.precision

    def kind_of(self, field: AnyVectorField) -> str:
        """The field kind that is indexed: that of the field, unless it is rounded."""
        return {"half": "halfvec", "bit": "bit"}.get(self.precision or "", field.kind)

    def suffix_of(self, metric: str) -> str:
        """The ending of the operator class that serves a metric."""
        return SUFFIXES["hamming" if self.precision == "bit" else metric]

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        self.opclasses_for(model)  # a misfit is refused where nothing is built as well
        engine = engine_for(schema_editor.connection)
        return engine.create_index(self, model, schema_editor, **kwargs)

    def remove_sql(self, model: Any, schema_editor: Any, **kwargs: Any) -> Any:
        engine = engine_for(schema_editor.connection)
        return engine.remove_index(self, model, schema_editor, **kwargs)

    def _only_opclass(self, opclass: str | None, opclasses: Any) -> str | None:
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
        known = sorted({name for kind in METRICS[self.method].values() for name in kind})
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
        names = {
            f"{kind}_{SUFFIXES[metric]}": metric
            for kind, metrics in METRICS[self.method].items()
            for metric in metrics
        }
        if self.opclass not in names:
            raise ValueError(
                f"{self._label} has no operator class {self.opclass!r}; "
                f"use one of {', '.join(sorted(names))}."
            )
        return names[self.opclass]

    def _check_columns(self) -> None:
        if set('"\0') & set(self.name or ""):
            raise ValueError(f"{self._label} needs a name without quotation marks and NUL.")
        if not self.expressions and len(self.fields) != 1:
            raise ValueError(f"{self._label} takes one field, not {self.fields!r}.")
        if self.fields and self.fields[0].startswith("-"):
            raise ValueError(f"{self._label} has no order: write {self.fields[0][1:]!r}.")
        if self.include:
            raise ValueError(f"{self._label} cannot include other columns: {self.include!r}.")

    def _check_options(self) -> None:
        if self.precision not in (None, "half", "bit") or (self.stage and self.expressions):
            raise ValueError(
                f'{self._label} takes precision="half" or "bit" over a field, '
                f"not {self.precision!r}."
            )
        if self.prefix is not None and (type(self.prefix) is not int or self.prefix < 1):
            raise ValueError(f"{self._label} takes prefix of 1 or more, not {self.prefix!r}.")
        if self.prefix and self.precision:
            raise ValueError(f"{self._label} takes either precision or prefix, not both.")
        for option, value in self.storage_parameters().items():
            least, greatest = self.options[option]
            if type(value) is not int or not least <= value <= greatest:
                raise ValueError(
                    f"{self._label} takes {option} from {least} to {greatest}, not {value!r}."
                )

    @property
    def _label(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class HnswIndex(MethodIndex):
    """
    A hierarchical navigable small world graph.

    ``m`` is the number of links of a node (2 to 100, pgvector's default 16), ``ef_construction``
    the size of the candidate list while building (4 to 1000, at least ``2 * m``, default 64).

    Raises ValueError for what pgvector would refuse.
    """

    suffix = "hnsw"
    method = "hnsw"
    options = {"m": (2, 100), "ef_construction": (4, 1000)}
    m: int | None
    ef_construction: int | None

    def _check_options(self) -> None:
        super()._check_options()
        m = 16 if self.m is None else self.m
        ef_construction = 64 if self.ef_construction is None else self.ef_construction
        if ef_construction < 2 * m:
            raise ValueError(
                f"{self._label} takes ef_construction of at least 2 * m = {2 * m}, "
                f"not {ef_construction}."
            )


class VectorIndex(HnswIndex):
    """
    The portable index: on each database the best one that it has.

    HNSW on PostgreSQL, which takes ``m`` and ``ef_construction``; on SQLite a ``vec0`` table that
    triggers keep in step with the model's; on libSQL a graph over such a table, which takes
    ``max_neighbors``, ``compress_neighbors``, ``alpha``, ``insert_l`` and ``search_l``, the number
    of rows that it finds at most. ``nearest()`` searches all three.

    Raises ValueError for what a database would refuse, or make a useless index of.
    """

    suffix = "vec"
    method = "vector"
    portable = True
    #: The parameters of libSQL's graph, with the values that it takes.
    graph_options: ClassVar[dict[str, Any]] = {
        "max_neighbors": (1, 1000),
        "compress_neighbors": ("float1bit", "float8", "float16", "floatb16", "float32"),
        "alpha": (1.0, 10.0),
        "insert_l": (1, 10_000),
        "search_l": (1, 10_000),
    }

    def __init__(self, *expressions: Any, **kwargs: Any) -> None:
        self.graph = {name: kwargs.pop(name) for name in self.graph_options if name in kwargs}
        if quantize := kwargs.pop("quantize", None):  # another word for the same
            kwargs.setdefault("precision", quantize)
        super().__init__(*expressions, **kwargs)

    def graph_parameters(self) -> dict[str, Any]:
        """The parameters of libSQL's graph that were given."""
        return {name: value for name, value in self.graph.items() if value is not None}

    def deconstruct(self) -> Any:
        path, expressions, kwargs = super().deconstruct()
        return path, expressions, {**kwargs, **self.graph_parameters()}

    def _check_options(self) -> None:
        super()._check_options()
        for name, value in self.graph_parameters().items():
            taken = self.graph_options[name]
            if name == "compress_neighbors":
                if value not in taken:
                    raise ValueError(
                        f"{self._label} takes {name} of {', '.join(taken)}, not {value!r}."
                    )
                continue
            least, greatest = taken
            numbers = (int, float) if isinstance(least, float) else (int,)
            if type(value) not in numbers or not least <= value <= greatest:
                raise ValueError(
                    f"{self._label} takes {name} from {least} to {greatest}, not {value!r}."
                )
        if self.graph.get("compress_neighbors") == "float1bit" and self.metric != "cosine":
            raise ValueError(
                f"{self._label} takes compress_neighbors='float1bit' with the metric 'cosine' only."
            )


class IvfflatIndex(MethodIndex):
    """
    An inverted file of flat vectors.

    ``lists`` is the number of clusters (1 to 32768), and required: rows / 1000 up to a million
    rows, the square root of rows above. Create the index when the table has its data, since the
    clusters are those of the rows that are there.

    Raises ValueError for what pgvector would refuse.
    """

    suffix = "ivfflat"
    method = "ivfflat"
    options = {"lists": (1, 32768)}
    lists: int | None

    def _check_options(self) -> None:
        super()._check_options()
        if self.lists is None:
            raise ValueError(f"{self._label} needs lists, the number of clusters: 1 to 32768.")


def declared_indexes(field: Any) -> Iterator[MethodIndex]:
    """The vector indexes that the model of ``field`` declares for it."""
    model = getattr(field, "model", None)
    for index in model._meta.indexes if model else ():
        if isinstance(index, MethodIndex) and index.fields == [field.name]:
            yield index


def vector_field(model: Any, name: str) -> AnyVectorField | None:
    """The vector field of that name, that of a GeneratedField included, or None."""
    field = model._meta.get_field(name)
    field = getattr(field, "output_field", None) or field
    return field if isinstance(field, AnyVectorField) else None
