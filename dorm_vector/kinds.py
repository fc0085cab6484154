"""
The kinds of vectors: what they accept, how they travel, and what they read.

A kind *packs* any Python value that it accepts into one canonical, hashable form: packed
little-endian float32 for ``vector`` and ``halfvec``, a string of 0 and 1 for ``bit``, pgvector's
text for ``sparsevec``. Engines encode and decode these forms.
"""

from __future__ import annotations

import itertools
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from pgvector import Bit, HalfVector, SparseVector, Vector

from dorm_vector import codecs, packing, sparse, values
from dorm_vector.registry import metrics_of

__all__ = ["DENSE_KINDS", "KINDS", "NUMERIC_KINDS", "Kind"]

# The greatest float16, and half a step above it: anything below is rounded to the former.
FLOAT16_OVERFLOW = 65_520.0

#: The names of the kinds that store every component as a number, and of all kinds of numbers.
DENSE_KINDS = ("vector", "halfvec")
NUMERIC_KINDS = (*DENSE_KINDS, "sparsevec")


class Kind:
    """One kind of vectors."""

    name: ClassVar[str]
    #: The most dimensions, or bits, of a column.
    max_dimensions: ClassVar[int]
    #: What a dimension is called in sentences.
    unit: ClassVar[str] = "dimensions"
    #: The metric that ``nearest()`` takes where nothing names another one.
    default_metric: ClassVar[str] = "cosine"

    @property
    def metrics(self) -> list[str]:
        """The metrics that such vectors have, the default first."""
        return metrics_of(self.name, self.default_metric)

    def pack(self, value: object, dimensions: int | None = None) -> Any:
        """``value`` in the canonical form. Raises ValidationError if it is not such a vector."""
        raise NotImplementedError

    def packer(self, dimensions: int) -> Callable[[Any], Any]:
        """``pack`` in few steps, which returns None for what ``pack`` has to look at."""
        return lambda value: None

    def is_open(self, value: object) -> bool:
        """Whether ``value`` does not say how many dimensions it has."""
        return False

    def held(self, iterator: Iterator[Any], dimensions: int) -> Any:
        """What an instance keeps of an iterator, which can be read only once."""
        return list(itertools.islice(iterator, dimensions + 1))

    def fit(self, packed: Any, dimensions: int) -> Any:
        """A packed vector of open size, with that many dimensions. Raises ValidationError."""
        raise NotImplementedError

    def size(self, packed: Any) -> int:
        """The number of dimensions of a packed vector."""
        raise NotImplementedError

    def read(self, decoded: Any, dimensions: int) -> Any:
        """The Python value of what an engine decoded. Raises ValidationError for another length."""
        raise NotImplementedError

    def unpack(self, packed: Any) -> Any:
        """The Python value of a packed vector."""
        raise NotImplementedError

    def to_text(self, packed: Any) -> str:
        """A packed vector as text, for forms and fixtures."""
        raise NotImplementedError

    def zero(self, dimensions: int) -> Any:
        """The packed zero vector."""
        raise NotImplementedError

    def is_zero(self, packed: Any) -> bool:
        """Whether all components of a packed vector are zero."""
        return bool(packed == self.zero(self.size(packed)))

    def as_numpy(self, decoded: Any) -> Any:
        """What an engine decoded, as a numpy array."""
        raise NotImplementedError

    def unpack_numpy(self, packed: Any) -> Any:
        """The numpy array of a packed vector."""
        return self.as_numpy(packed)

    def reader(
        self, layout: codecs.Layout, dimensions: int, *, numpy: bool
    ) -> Callable[[bytes], Any]:
        """The reader of bytes with that layout, as ``read`` or as numpy arrays."""
        raise NotImplementedError

    def convert(self, packed: Any, to: Kind) -> Any:
        """A packed vector in the form of another kind."""
        return packed if to is self else to.pack(self.unpack(packed))

    def check_size(self, actual: int, expected: int | None) -> None:
        """Raise ValidationError unless a vector of ``actual`` components is one of ``expected``."""
        values.check_dimensions(actual, expected, unit=self.unit)


class VectorKind(Kind):
    """float32."""

    name = "vector"
    max_dimensions = values.MAX_DIMENSIONS
    #: That of numpy's arrays.
    dtype: ClassVar[str] = "f4"

    def pack(self, value: object, dimensions: int | None = None) -> bytes:
        return values.pack(value, dimensions)

    def packer(self, dimensions: int) -> Callable[[Any], Any]:
        return packing.packer(dimensions)

    def size(self, packed: bytes) -> int:
        return len(packed) // 4

    def read(self, decoded: array[float], dimensions: int) -> list[float]:
        values.check_dimensions(len(decoded), dimensions)
        return decoded.tolist()

    def unpack(self, packed: bytes) -> list[float]:
        return codecs.from_packed(packed).tolist()

    def to_text(self, packed: bytes) -> str:
        return codecs.to_text(codecs.from_packed(packed))

    def zero(self, dimensions: int) -> bytes:
        return bytes(4 * dimensions)

    def is_zero(self, packed: bytes) -> bool:
        return not any(codecs.from_packed(packed))  # there are two zeros, 0.0 and -0.0

    def as_numpy(self, decoded: array[float]) -> Any:
        import numpy

        from dorm_vector.arrays import vector_array

        return vector_array(numpy.frombuffer(decoded, dtype="f4").astype(self.dtype, copy=False))

    def reader(
        self, layout: codecs.Layout, dimensions: int, *, numpy: bool
    ) -> Callable[[bytes], Any]:
        if not numpy:
            return codecs.reader(layout, dimensions)
        from dorm_vector import arrays

        return arrays.reader(layout, dimensions, self.dtype)

    def unpack_numpy(self, packed: bytes) -> Any:
        return self.as_numpy(codecs.from_packed(packed))


class HalfKind(VectorKind):
    """float16, carried as the float32 of the same value."""

    name = "halfvec"
    dtype = "f2"

    def pack(self, value: object, dimensions: int | None = None) -> bytes:
        numbers = values.to_float32(value, dimensions)
        values.check_dimensions(len(numbers), dimensions)
        return codecs.to_packed(rounded_to_float16(numbers))

    def packer(self, dimensions: int) -> Callable[[Any], Any]:
        return Kind.packer(self, dimensions)


def rounded_to_float16(numbers: array[float]) -> array[float]:
    """The nearest float16 of each number. Raises ValidationError for one beyond their range."""
    form = f"{len(numbers)}e"
    try:
        return array("f", struct.unpack(form, struct.pack(form, *numbers)))
    except OverflowError:
        position, number = next(
            pair for pair in enumerate(numbers) if abs(pair[1]) >= FLOAT16_OVERFLOW
        )
        raise ValidationError(
            f"Component {position} is {number!r}, beyond the range of float16.", code="overflow"
        ) from None


class BitKind(Kind):
    """Bits, the first one first."""

    name = "bit"
    # PostgreSQL's own limit is far above what can be indexed, or compared in a useful time.
    max_dimensions = 83_886_080
    unit = "bits"
    default_metric = "hamming"

    def pack(self, value: object, dimensions: int | None = None) -> str:
        bits = self._bits(value, dimensions)
        self.check_size(len(bits), dimensions)
        return bits

    def _bits(self, value: object, dimensions: int | None) -> str:
        if isinstance(value, Bit):
            return value.to_text()
        if isinstance(value, str):
            if set(value) <= {"0", "1"}:
                return value
            raise ValidationError(f"{values.short(value)} is not a bit string.", code="invalid")
        if self.is_open(value):
            return self._from_bytes(value, dimensions)
        if isinstance(value, Vector | HalfVector | SparseVector):
            raise ValidationError(f"{values.short(value)} is not a bit string.", code="invalid")
        try:
            listed = values.components(value, dimensions, self.max_dimensions, self.unit)
        except ValidationError as error:
            if error.code == "invalid":
                message = f"{values.short(value)} is not a bit string."
                raise ValidationError(message, code="invalid") from None
            raise
        # numpy's scalars as Python's.
        listed = listed.tolist() if hasattr(listed, "tolist") else listed
        for position, bit in enumerate(listed):
            bit = bit.item() if hasattr(bit, "dtype") and not bit.ndim else bit
            if type(bit) not in (bool, int) or bit not in (0, 1):
                raise ValidationError(
                    f"Component {position} is {values.short(bit)}, not a bit.", code="not_a_bit"
                )
        return "".join("1" if bit else "0" for bit in listed)

    def _from_bytes(self, value: Any, dimensions: int | None) -> str:
        if 8 * len(value) > ((dimensions or self.max_dimensions) + 7) // 8 * 8:
            self.check_size(8 * len(value), dimensions)
        bits = codecs.bits_from_bytes(bytes(value))
        return bits if dimensions is None else self.fit(bits, dimensions)

    def is_open(self, value: object) -> bool:
        # Full bytes, the last one padded.
        if isinstance(value, memoryview):
            values.check_not_released(value)
            return value.ndim == 1 and value.format in ("B", "c")
        return isinstance(value, bytes | bytearray)

    def fit(self, packed: str, dimensions: int) -> str:
        if len(packed) != (dimensions + 7) // 8 * 8:
            self.check_size(len(packed), dimensions)
        if "1" in packed[dimensions:]:
            raise ValidationError(
                f"Expected {dimensions} bits, and one of the {len(packed) - dimensions} after them "
                "is 1.",
                code="dimensions",
            )
        return packed[:dimensions]

    def size(self, packed: str) -> int:
        return len(packed)

    def read(self, decoded: str, dimensions: int) -> str:
        self.check_size(len(decoded), dimensions)
        return decoded

    def unpack(self, packed: str) -> str:
        return packed

    def to_text(self, packed: str) -> str:
        return packed

    def zero(self, dimensions: int) -> str:
        return "0" * dimensions

    def as_numpy(self, decoded: str) -> Any:
        import numpy

        from dorm_vector.arrays import vector_array

        return vector_array(numpy.frombuffer(decoded.encode(), dtype="u1") == ord("1"))


class ReadSparseVector(SparseVector):
    """pgvector's, whose ``str()`` is text that fields read as the same vector."""

    def __str__(self) -> str:
        pairs = zip(self.indices(), self.values(), strict=True)
        return codecs.to_sparse_text(pairs, self.dimensions())


class SparseKind(Kind):
    """The nonzero elements by position, counting from 0."""

    name = "sparsevec"
    max_dimensions = sparse.MAX_DIMENSIONS

    def pack(self, value: object, dimensions: int | None = None) -> str:
        elements, size = sparse.elements_of(value, dimensions)
        self.check_size(size, dimensions)
        values.check_most(size, dimensions, self.max_dimensions)
        positions = sorted(sparse.position(place, size) for place in elements)
        numbers = sparse.numbers_at(elements, positions)
        kept = [(place, number) for place, number in zip(positions, numbers, strict=True) if number]
        sparse.check_elements(len(kept))
        return codecs.to_sparse_text(kept, size)

    def held(self, iterator: Iterator[Any], dimensions: int) -> Any:
        # As a list they could be a billion numbers.
        return self.unpack(self.pack(iterator, dimensions))

    def is_open(self, value: object) -> bool:
        return isinstance(value, Mapping)

    def fit(self, packed: str, dimensions: int) -> str:
        elements, _ = codecs.from_sparse_text(packed)
        return self.pack(elements, dimensions)

    def size(self, packed: str) -> int:
        return int(packed.rpartition("/")[2])

    def read(self, decoded: str, dimensions: int) -> SparseVector:
        self.check_size(self.size(decoded), dimensions)
        return self.unpack(decoded)

    def unpack(self, packed: str) -> SparseVector:
        elements, size = codecs.from_sparse_text(packed)
        exact = array("f", elements.values())
        return ReadSparseVector(dict(zip(elements, exact.tolist(), strict=True)), size)

    def to_text(self, packed: str) -> str:
        return packed

    def zero(self, dimensions: int) -> str:
        return codecs.to_sparse_text([], dimensions)

    def convert(self, packed: str, to: Kind) -> Any:
        if to is self:
            return packed
        if (size := self.size(packed)) > to.max_dimensions:
            raise ValidationError(
                f"Expected {to.max_dimensions} {to.unit} at most, not {size}.", code="dimensions"
            )
        return to.pack(self.unpack(packed).to_list())

    def as_numpy(self, decoded: str) -> Any:
        from dorm_vector.arrays import vector_array

        return vector_array(self.unpack(decoded).to_numpy())


KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (VectorKind(), HalfKind(), BitKind(), SparseKind())
}
