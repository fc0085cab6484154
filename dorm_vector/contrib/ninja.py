"""
django-ninja and pydantic: vectors in schemas.

``VectorType`` is the type of one field, with its dimensions::

    class PassageIn(Schema):
        text: str
        embedding: VectorType(Passage, "embedding")

Once this module is imported, ModelSchema knows vector fields too. It knows only the classes
of fields, so that dimensions are not checked until the vector is saved: let ``handle_errors(api)``
answer 422 then.
"""

from __future__ import annotations

from typing import Annotated, Any

from django.core.exceptions import ValidationError
from ninja.orm import register_field
from pgvector import SparseVector
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from dorm_vector.contrib.json import (
    check_numbers,
    from_json,
    json_schema,
    sparse_from_json,
    sparse_to_json,
    to_json,
)
from dorm_vector.methods import vector_field

__all__ = ["VectorType", "handle_errors"]

NUMBERS = {"type": "array", "items": {"type": "number", "format": "float"}}


def VectorType(model: Any, name: str) -> Any:  # noqa: N802 - it stands where types stand
    """
    The pydantic type of a vector field: arrays of numbers, text of bits, sparse vectors as objects.

    What is not a vector of the field is refused with the position of the error, and the JSON
    schema has the dimensions. Raises FieldDoesNotExist for a name that no field has, and ValueError
    for a field without vectors.
    """
    field = vector_field(model, name)
    if field is None:
        raise ValueError(f"{model._meta.label}.{name} has no vectors.")
    optional = model._meta.get_field(name).null
    taken = BeforeValidator(lambda data: _taken(field, data, optional=optional))
    shown = _shown(lambda value: to_json(field, value))
    python_type = Any | None if optional else Any
    schema = json_schema(field)
    if optional:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return Annotated[python_type, taken, shown, WithJsonSchema(schema)]


def handle_errors(api: Any) -> None:
    """Let an API answer 422, with the messages, when Django refuses a value that is saved."""

    def refused(request: Any, error: Any) -> Any:
        detail = [{"msg": message, "type": "value_error"} for message in error.messages]
        return api.create_response(request, {"detail": detail}, status=422)

    api.add_exception_handler(ValidationError, refused)


def _taken(field: Any, data: Any, *, optional: bool) -> Any:
    # What is sent back has been read from a field already.
    if hasattr(data, "tolist") or isinstance(data, SparseVector):
        return data
    if data is None and not optional:
        raise ValueError("Expected a vector, not null.")
    try:
        return from_json(field, data)
    except ValidationError as error:
        raise ValueError(" ".join(error.messages)) from None


def _of_any_length(value: Any) -> Any:
    """An array as a list, which numpy's are not to pydantic; it would take true and "1" as 1."""
    value = value.tolist() if hasattr(value, "tolist") else value
    try:
        check_numbers(value if isinstance(value, list) else [])
    except ValidationError as error:
        raise ValueError(" ".join(error.messages)) from None
    return value


def _shown(convert: Any) -> PlainSerializer:
    """JSON in responses; ``dict()`` of a schema keeps values that models take."""

    def serialized(value: Any, info: Any) -> Any:
        answers = info.mode == "json" or info.context
        return convert(value) if answers else value

    return PlainSerializer(serialized)


def _sparse(value: Any) -> Any:
    if value is None or isinstance(value, SparseVector):
        return value
    try:
        return sparse_from_json(value)
    except ValidationError as error:
        raise ValueError(" ".join(error.messages)) from None


AnyVector = Annotated[list[float], BeforeValidator(_of_any_length), WithJsonSchema(NUMBERS)]

AnySparse = Annotated[
    Any,
    BeforeValidator(_sparse),
    _shown(lambda value: value and sparse_to_json(value)),
    WithJsonSchema({"type": "object"}),
]

register_field("VectorField", AnyVector)
register_field("SparseVectorField", AnySparse)
register_field("HalfVectorField", AnyVector)
register_field("BitField", Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[01]*$"})])
