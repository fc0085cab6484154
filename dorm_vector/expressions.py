"""What expressions of vectors are made of: query vectors and resolved operands."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.core.exceptions import FieldError, ValidationError
from django.db.models import Field, Value
from django.db.models.expressions import Col
from django.db.models.sql.compiler import SQLCompiler
from pgvector import Bit, SparseVector

from dorm_vector.anyvector import AnyVectorField
from dorm_vector.engines import engine_for
from dorm_vector.kinds import KINDS, Kind
from dorm_vector.registry import FIELDS

__all__ = [
    "SETTLED",
    "Known",
    "VectorValue",
    "compiled",
    "operands",
    "packed_value",
    "plain",
    "public_path",
    "settle",
    "vector_field_of",
]


class VectorValue(Value):
    """
    A query vector: checked when it is made, and packed once.

    Without a ``kind`` it takes every form that a field of any kind takes. It takes on the other
    operand's kind, and number of dimensions, if these are known. Raises ValidationError for what
    no field would take.
    """

    def __init__(self, value: Any, kind: str | None = None) -> None:
        if hasattr(
            value, "__next__"
        ):  # an iterator can be read only once; one more than any field takes
            value = list(itertools.islice(value, KINDS["vector"].max_dimensions + 1))
        #: The value as it was given, for a kind that reads it differently.
        self.given = value
        self.kind = kind or _kind_of(value)
        of_kind = KINDS[self.kind]
        #: Whether the value does not say how many dimensions it has.
        self.open = of_kind.is_open(value)
        self._refusal: ValidationError | None = None
        super().__init__(None)
        try:
            self.value = None if value is None else _packed(value, of_kind)
        except ValidationError as error:
            if kind or self.kind != "vector" or not _is_bits(value):
                raise
            self._refusal = error

    @property
    def value(self) -> Any:
        """
        The packed vector, or None.

        Raises ValidationError for one that only a kind can read which it has not met.
        """
        if self._refusal is not None:
            raise self._refusal
        return self._value

    @value.setter
    def value(self, packed: Any) -> None:
        self._value = packed

    def __repr__(self) -> str:
        value = self.given if self._refusal else self.unpack()
        if not isinstance(value, list) or len(value) <= 4:
            return f"{value}"
        return f"[{value[0]}, ...]"

    @property
    def identity(self) -> Any:
        """What decides equality; numpy arrays among the arguments would not compare."""
        given = repr(self.given) if self._refusal else None
        return (type(self), self.kind, self._value, self.open, given)

    def _resolve_output_field(self) -> AnyVectorField | None:
        return FIELDS[self.kind](self.dimensions) if self.dimensions else None

    @property
    def dimensions(self) -> int | None:
        return None if self.value is None else KINDS[self.kind].size(self.value)

    def unpack(self) -> Any:
        """The vector as the field of its kind reads it."""
        return None if self.value is None else KINDS[self.kind].unpack(self.value)

    def plain(self) -> Any:
        """The vector in a form that migrations can write, and that reads as the same vector."""
        if self._refusal or self.open:
            return self.given
        value = self.unpack()
        return KINDS[self.kind].to_text(self.value) if isinstance(value, SparseVector) else value

    @property
    def is_zero(self) -> bool:
        return self.value is not None and KINDS[self.kind].is_zero(self.value)

    def resolve_expression(
        self,
        query: Any = None,
        allow_joins: bool = True,
        reuse: Any = None,
        summarize: bool = False,
        for_save: bool = False,
    ) -> Any:
        if summarize or for_save:
            return super().resolve_expression(query, allow_joins, reuse, summarize, for_save)
        return self  # it has nothing to resolve, and what changes it makes a copy

    def fitted(self, field: AnyVectorField) -> VectorValue:
        """The same vector as a value of a field. Raises the field's ValidationError."""
        if self._refusal is None and not self.open and self._value is not None:
            # Checked before it is converted: a sparse vector may be a thousand times as long.
            field.values.check_size(self.dimensions or 0, field.dimensions)
        return self.in_kind(field.kind, field.dimensions)

    def in_kind(self, kind: str, dimensions: int | None = None) -> VectorValue:
        """The same vector in another kind. Raises ValidationError if that has no such value."""
        if kind == self.kind and not self.open:
            return self
        fitted: VectorValue = self.copy()
        fitted.kind, fitted.open, fitted._refusal = kind, False, None
        if self.given is not None:
            fitted.value = self._read_as(kind, dimensions)
        return fitted

    def _read_as(self, kind: str, dimensions: int | None) -> Any:
        packed_already = self._refusal is None and not self.open
        if packed_already and self._value is not None and "bit" not in (kind, self.kind):
            return KINDS[self.kind].convert(self._value, KINDS[kind])
        return KINDS[kind].pack(self.given, dimensions)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        engine = engine_for(connection)
        place = engine.placeholder(self.kind, self.dimensions or 1)
        value = None if self.value is None else engine.cached_parameter(self.value, self.kind)
        return place, (value,)


def _kind_of(value: object) -> str:
    if isinstance(value, str):
        return "sparsevec" if value.lstrip().startswith("{") else "vector"
    if isinstance(value, Bit):
        return "bit"
    sparse = isinstance(value, SparseVector | Mapping) or hasattr(value, "tocoo")
    return "sparsevec" if sparse else "vector"


def _packed(value: object, kind: Kind) -> Any:
    return kind.pack(value, kind.max_dimensions if isinstance(value, Mapping) else None)


def _is_bits(value: object) -> bool:
    try:
        KINDS["bit"].pack(value)
    except ValidationError:
        return False
    return True


# The name of a field, a path through relations, or an annotation. No vector's text begins with a
# letter.
NAME = re.compile(r"[^\W\d][^\s\[\]{},:/]*")


def operands(expressions: Sequence[Any], kind: str | None = None) -> list[Any]:
    """
    The operands of an expression from its arguments.

    Text as the first one is the name of a field; as another one it is a name if it looks like one,
    and a vector otherwise. Anything else but an expression is a vector. Raises ValidationError for
    what is not one.
    """
    return [
        operand
        if hasattr(operand, "resolve_expression")
        or (isinstance(operand, str) and (place == 0 or NAME.fullmatch(operand)))
        else VectorValue(operand, kind)
        for place, operand in enumerate(expressions)
    ]


class Known(NamedTuple):
    """What is known of an operand; None for what is unknown."""

    dimensions: int | None
    kind: str | None


def settle(
    function: Any,
    given: Sequence[Any],
    fields: Sequence[AnyVectorField | None] | None = None,
    *,
    same_length: bool = True,
) -> tuple[list[Any], list[Known]]:
    """
    Settle the operands of an expression once they are resolved, and return what is known of each.

    Values become vectors of the other operand's field. Raises FieldError for operands that are not
    vectors, or have different kinds or lengths, and the field's ValidationError for a value that it
    would not take. An OuterRef has no field before it is compiled. ``fields`` are those of the
    operands, if they have been looked up.
    """
    if fields is None:
        fields = [vector_field_of(operand, function) for operand in given]
    known = [field for field in fields if field is not None]
    name = type(function).__name__
    if len({field.kind for field in known}) > 1:
        raise FieldError(
            f"{name} needs two vectors of the same kind, not {known[0].kind} and {known[1].kind}: "
            "Cast one of them."
        )
    fitted = _fitted(given, known[0] if known else None, same_length)
    each = [_known_of(operand, field) for operand, field in zip(fitted, fields, strict=True)]
    sizes = [one.dimensions for one in each if one.dimensions is not None]
    if same_length and len(set(sizes)) > 1:
        raise FieldError(
            f"{name} needs two vectors of the same length, not of {sizes[0]} and {sizes[1]} "
            "dimensions."
        )
    return fitted, each


def _fitted(given: Sequence[Any], field: AnyVectorField | None, same_length: bool) -> list[Any]:
    """The operands, with values converted to the kind of a field, or of the first operand."""
    kind = field.kind if field else None
    fitted = []
    for operand in given:
        if isinstance(operand, VectorValue):
            if field and same_length:
                operand = operand.fitted(field)
            elif kind:
                operand = operand.in_kind(kind)
            elif operand.value is not None:
                kind = operand.kind
        fitted.append(operand)
    return fitted


def _known_of(operand: Any, field: AnyVectorField | None) -> Known:
    if isinstance(operand, VectorValue):
        return Known(operand.dimensions, None if operand.value is None else operand.kind)
    return Known(field.dimensions, field.kind) if field else Known(None, None)


# Operands about which resolving tells nothing more.
SETTLED = (Col, VectorValue)


def vector_field_of(operand: Any, function: Any) -> AnyVectorField | None:
    """
    The vector field of an operand, or None if nothing is known about it.

    Raises FieldError for an operand that is not a vector.
    """
    if isinstance(operand, VectorValue):
        return None
    try:
        field = operand.output_field
    except (AttributeError, FieldError):  # an OuterRef, or a function without an output field
        return None
    field = getattr(field, "output_field", None) or field
    if type(field) is Field:  # raw SQL without an output field
        return None
    if not isinstance(field, AnyVectorField):
        raise FieldError(
            f"{type(function).__name__} needs vectors, not the {type(field).__name__} {operand!r}."
        )
    return field


def compiled(compiler: SQLCompiler, operand: Any) -> tuple[str, tuple[Any, ...]]:
    sql, params = compiler.compile(operand)
    return sql, tuple(params)


def packed_value(operand: Any) -> bytes | None:
    return operand.value if isinstance(operand, VectorValue) else None


def plain(operand: Any) -> Any:
    """An operand in the form that migrations write."""
    return operand.plain() if isinstance(operand, VectorValue) else operand


def public_path(path: str) -> str:
    """
    The import path of an expression in migrations.

    This package's have one that stays, whichever module they are in; a project's own subclasses
    have theirs.
    """
    package, _, name = path.rpartition(".")
    return f"dorm_vector.functions.{name}" if package.startswith("dorm_vector.") else path
