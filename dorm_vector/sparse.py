"""The nonzero elements of sparse vectors by position, counting from 0."""

from __future__ import annotations

import itertools
import operator
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from pgvector import SparseVector

from dorm_vector import codecs, values

__all__ = ["MAX_DIMENSIONS", "check_elements", "elements_of", "numbers_at", "position"]

MAX_DIMENSIONS = 1_000_000_000
MAX_ELEMENTS = 16_000
# How many components are checked together, in a vector that is made as it is read.
CHUNK = 4_096


def elements_of(value: object, dimensions: int | None) -> tuple[dict[Any, Any], int]:
    """
    The elements of a vector, in any form that SparseVectorField takes, and its dimensions.

    Raises ValidationError.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return codecs.from_sparse_text(value)
        except ValueError:
            raise ValidationError(
                f"{values.short(value)} is not a sparse vector.", code="invalid"
            ) from None
    if isinstance(value, Mapping):
        if dimensions is None:
            raise ValidationError(
                "A dict of elements needs the number of dimensions: use SparseVector.",
                code="dimensions",
            )
        return dict(value), dimensions
    if hasattr(value, "tocoo"):
        value = _from_scipy(value)
    if isinstance(value, SparseVector):
        pairs = zip(value.indices(), value.values(), strict=True)
        return {int(place): number for place, number in pairs}, value.dimensions()
    return _from_dense(value, dimensions)


def _from_dense(value: object, dimensions: int | None) -> tuple[dict[Any, Any], int]:
    if values.is_stream(value):
        return _from_stream(value, dimensions)
    numbers = values.to_float32(value, dimensions, most=MAX_DIMENSIONS)
    return {place: number for place, number in enumerate(numbers) if number}, len(numbers)


def _from_stream(value: Any, dimensions: int | None) -> tuple[dict[Any, Any], int]:
    """The elements of an iterator, up to the first that is one too many."""
    values.check_length(value, dimensions, MAX_DIMENSIONS)
    stream, size = iter(value), 0
    elements: dict[Any, Any] = {}
    while chunk := list(itertools.islice(stream, CHUNK)):
        places = range(size, size + len(chunk))
        numbers = numbers_at(dict(zip(places, chunk, strict=True)), places)
        elements.update(pair for pair in zip(places, numbers, strict=True) if pair[1])
        size += len(chunk)
        values.check_most(size, dimensions, MAX_DIMENSIONS)
        check_elements(len(elements))
    return elements, size


def check_elements(count: int) -> None:
    """Raise ValidationError for more elements than a vector may have."""
    if count > MAX_ELEMENTS:
        raise ValidationError(
            f"Expected {MAX_ELEMENTS} elements that are not zero at most, not {count}.",
            code="elements",
        )


def position(place: Any, size: int) -> int:
    """A position, counting from 0. Raises ValidationError."""
    try:
        found = operator.index(place)
    except TypeError:
        found = -1
    if isinstance(place, bool) or not 0 <= found < size:
        raise ValidationError(
            f"Position {values.short(place)} is not one from 0 to {size - 1}.", code="dimensions"
        )
    return found


def numbers_at(elements: dict[Any, Any], positions: Sequence[int]) -> array[float]:
    """The numbers at some positions as float32. Raises ValidationError."""
    try:
        numbers = [elements[place] for place in positions]
        return values.to_float32(numbers, most=len(numbers))
    except ValidationError:
        for place in positions:  # the error names the position in the vector
            try:
                values.to_float32([elements[place]])
            except ValidationError as error:
                sentence = error.message.replace("Component 0", f"Component {place}", 1)
                raise ValidationError(sentence, code=error.code) from None
        raise


def _from_scipy(value: object) -> SparseVector:
    try:
        return SparseVector(value)
    except (TypeError, ValueError):
        raise ValidationError(
            f"{values.short(value)} is not a sparse vector.", code="invalid"
        ) from None
