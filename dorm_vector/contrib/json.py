"""Vectors as JSON: arrays of numbers, text of bits, and the nonzero elements of sparse ones."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from pgvector import SparseVector

from dorm_vector import values
from dorm_vector.fields import AnyVectorField

__all__ = [
    "check_numbers",
    "from_json",
    "json_schema",
    "sparse_from_json",
    "sparse_to_json",
    "to_json",
]

SPARSE_KEYS = {"indices", "values", "dimensions"}


def to_json(field: AnyVectorField, value: Any) -> Any:
    """The value of a vector field in JSON's types; None stays None."""
    if value is None:
        return None
    if field.kind == "sparsevec":
        return sparse_to_json(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
        return "".join("1" if bit else "0" for bit in value) if field.kind == "bit" else value
    return field.to_python(value) if not isinstance(value, list | str) else value


def sparse_to_json(value: SparseVector) -> dict[str, Any]:
    """The nonzero elements of a sparse vector, counting from 0, and its dimensions."""
    return {
        "indices": value.indices(),
        "values": value.values(),
        "dimensions": value.dimensions(),
    }


def from_json(field: AnyVectorField, data: Any) -> Any:
    """
    The value of a field from JSON. Text is read as in forms.

    Raises ValidationError for what is not a vector of the field, with the position of the error.
    """
    if data is None:
        return None
    if isinstance(data, str):
        return field.formfield().clean(data)
    if field.kind == "bit":
        raise ValidationError(f"Expected text of 0 and 1, not {_named(data)}.", code="invalid")
    if field.kind == "sparsevec":
        return field.to_python(sparse_from_json(data))
    if not isinstance(data, list):
        raise ValidationError(f"Expected an array of numbers, not {_named(data)}.", code="invalid")
    check_numbers(data[: field.dimensions + 1])
    return field.to_python(data)


def check_numbers(data: list[Any]) -> None:
    """Raise ValidationError, with its position, for what is no number of JSON's."""
    for position, number in enumerate(data):
        if isinstance(number, bool) or not isinstance(number, int | float):
            message = f"Component {position} is {_named(number)}, not a number."
            raise ValidationError(message, code="not_a_number")


def json_schema(field: AnyVectorField) -> dict[str, Any]:
    """The JSON schema of a field's vectors."""
    if field.kind == "bit":
        size = field.dimensions
        return {"type": "string", "pattern": "^[01]*$", "minLength": size, "maxLength": size}
    numbers: dict[str, Any] = {"type": "array", "items": {"type": "number", "format": "float"}}
    if field.kind != "sparsevec":
        return {**numbers, "minItems": field.dimensions, "maxItems": field.dimensions}
    indices = {"type": "integer", "minimum": 0, "maximum": field.dimensions - 1}
    return {
        "type": "object",
        "properties": {
            "indices": {"type": "array", "items": indices},
            "values": numbers,
            "dimensions": {"type": "integer", "enum": [field.dimensions]},
        },
        "required": sorted(SPARSE_KEYS),
    }


def sparse_from_json(data: Any) -> SparseVector:
    """The sparse vector of a JSON object, of any dimensions. Raises ValidationError."""
    if not isinstance(data, dict) or data.keys() != SPARSE_KEYS:
        raise ValidationError(
            'Expected {"indices": [...], "values": [...], "dimensions": ...}, '
            f"not {_named(data)}.",
            code="invalid",
        )
    indices, numbers, dimensions = data["indices"], data["values"], data["dimensions"]
    if (
        not isinstance(indices, list)
        or not isinstance(numbers, list)
        or len(indices) != len(numbers)
    ):
        raise ValidationError("Expected as many indices as values.", code="invalid")
    if type(dimensions) is not int or dimensions < 1:
        message = f"Expected dimensions of 1 or more, not {_named(dimensions)}."
        raise ValidationError(message, code="invalid")
    seen: set[int] = set()
    for position, index in enumerate(indices):
        if type(index) is not int or not 0 <= index < dimensions or index in seen:
            raise ValidationError(
                f"Index {position} is {_named(index)}: expected one from 0 to {dimensions - 1}, "
                "each once.",
                code="invalid",
            )
        seen.add(index)
    for position, number in enumerate(numbers):
        if isinstance(number, bool) or not isinstance(number, int | float):
            message = f"Value {position} is {_named(number)}, not a number."
            raise ValidationError(message, code="not_a_number")
    return SparseVector(dict(zip(indices, numbers, strict=True)), dimensions)


def _named(data: Any) -> str:
    """What a value is, in JSON's words."""
    if data is None or isinstance(data, bool):
        return {None: "null", True: "true", False: "false"}[data]
    if isinstance(data, list):
        return "an array"
    return "an object" if isinstance(data, dict) else values.short(data)
