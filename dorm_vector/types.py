"""Types for annotations: what the fields take, and the options of fields and searches."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Required, SupportsFloat, TypeAlias, TypedDict

from django.db.models import Field, Model, Q, QuerySet
from django.db.models.expressions import BaseExpression, Combinable
from pgvector import Bit, HalfVector, SparseVector, Vector

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise as Text
    from typing_extensions import TypeVar
else:
    Text = str

    def TypeVar(name: str, *, default: object = None, **options: Any) -> typing.TypeVar:  # noqa: N802
        """Python has defaults for type variables from 3.13 on."""
        return typing.TypeVar(name, **options)


__all__ = [
    "AggregateOptions",
    "BitsLike",
    "BitsRead",
    "BitsSet",
    "BulkOptions",
    "Deconstructed",
    "DeconstructedField",
    "FieldOptions",
    "Found",
    "FuncOptions",
    "HnswOptions",
    "IndexOptions",
    "IvfflatOptions",
    "Manages",
    "Owner",
    "QueryVector",
    "Read",
    "Row",
    "Rows",
    "Set",
    "SparseLike",
    "SparseRead",
    "SparseSet",
    "Text",
    "VectorIndexOptions",
    "VectorLike",
    "VectorOperand",
    "VectorRead",
    "VectorSet",
]


class Array(Protocol):
    """What numpy can read."""

    def __array__(self) -> Any: ...


class Coordinates(Protocol):
    """A sparse array of scipy's."""

    def tocoo(self) -> Any: ...


Packed: TypeAlias = str | bytes | bytearray | memoryview
#: What a vector can be made of.
VectorLike: TypeAlias = (
    Iterable[SupportsFloat] | Packed | Array | Vector | HalfVector | SparseVector
)
#: What bits can be made of.
BitsLike: TypeAlias = Iterable[bool] | Packed | Array | Bit
#: What a sparse vector can be made of.
SparseLike: TypeAlias = VectorLike | Mapping[int, SupportsFloat] | Coordinates
#: What an expression takes: the name of a field, an expression, or a vector.
VectorOperand: TypeAlias = (
    VectorLike | BitsLike | SparseLike | Combinable | QuerySet[Any, Any] | None
)
#: What can be searched for: a vector, an expression, or an instance that has one.
QueryVector: TypeAlias = VectorOperand | Model

#: What ``deconstruct()`` gives for migrations: a path, and the arguments.
Deconstructed: TypeAlias = tuple[str, Sequence[Any], dict[str, Any]]
#: The same of a field, whose name comes first.
DeconstructedField: TypeAlias = tuple[str, str, Sequence[Any], dict[str, Any]]

# What a field may be set to, and what it reads, in the order of Django's own fields.
Set = TypeVar("Set", contravariant=True, default=Any)
Read = TypeVar("Read", covariant=True, default=Any)
VectorSet = TypeVar("VectorSet", contravariant=True, default=VectorLike | Combinable)
VectorRead = TypeVar("VectorRead", covariant=True, default=list[float])
BitsSet = TypeVar("BitsSet", contravariant=True, default=BitsLike | Combinable)
BitsRead = TypeVar("BitsRead", covariant=True, default=str)
SparseSet = TypeVar("SparseSet", contravariant=True, default=SparseLike | Combinable)
SparseRead = TypeVar("SparseRead", covariant=True, default=SparseVector)

# A queryset's model, and the type of its rows: dicts for values(), for example.
Owner = TypeVar("Owner", bound=Model, covariant=True)
Row = TypeVar("Row", covariant=True, default=Owner)
# A queryset that stays what it is, and one that a manager gives.
Rows = TypeVar("Rows", bound=QuerySet[Any, Any])
Found = TypeVar("Found", covariant=True, bound=QuerySet[Any, Any])


class Manages(Protocol[Found]):
    """A manager whose querysets may have a project's own class."""

    def all(self) -> Found: ...

    def get_queryset(self) -> QuerySet[Any, Any]: ...


class FieldOptions(TypedDict, total=False):
    """The options of Django's fields, except those that decide what is read."""

    verbose_name: Text | None
    name: str | None
    primary_key: bool
    unique: bool
    blank: bool
    db_index: bool
    default: Any
    db_default: Any
    editable: bool
    serialize: bool
    choices: Any
    help_text: Text
    db_column: str | None
    db_comment: str | None
    db_tablespace: str | None
    auto_created: bool
    validators: Iterable[Callable[[Any], None]]
    error_messages: Mapping[str, Text] | None
    unique_for_date: str | None
    unique_for_month: str | None
    unique_for_year: str | None


class FuncOptions(TypedDict, total=False):
    """The options of Django's functions."""

    output_field: Field[Any, Any] | None
    function: str
    template: str
    arg_joiner: str


class AggregateOptions(FuncOptions, total=False):
    """The options of Django's aggregates."""

    distinct: bool
    filter: Q | BaseExpression | None
    default: VectorOperand


class IndexOptions(TypedDict, total=False):
    """The options of vector indexes."""

    fields: Sequence[str]
    name: str | None
    db_tablespace: str | None
    condition: Q | None
    include: Sequence[str] | None
    opclass: str | None
    opclasses: Sequence[str]
    metric: str | None
    precision: str | None
    prefix: int | None


class HnswOptions(IndexOptions, total=False):
    """The options of ``HnswIndex``."""

    m: int | None
    ef_construction: int | None


class VectorIndexOptions(HnswOptions, total=False):
    """The options of ``VectorIndex``."""

    max_neighbors: int | None
    compress_neighbors: str | None
    alpha: float | None
    insert_l: int | None
    search_l: int | None


class DiskAnnOptions(IndexOptions, total=False):
    """The options of ``DiskAnnIndex``."""

    storage_layout: str | None
    num_neighbors: int | None
    search_list_size: int | None
    max_alpha: float | None
    num_dimensions: int | None


class IvfflatOptions(IndexOptions, total=False):
    """The options of ``IvfflatIndex``."""

    lists: Required[int]


class BulkOptions(TypedDict, total=False):
    """The keywords of ``bulk_copy()``."""

    batch_size: int | None
    ignore_conflicts: bool
    update_conflicts: bool
    unique_fields: Sequence[str]
    update_fields: Sequence[str]
    progress: Callable[[int], object] | None
    rebuild_indexes: bool
    maintenance_work_mem: str | None
    workers: int | None
