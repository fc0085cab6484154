"""The vector fields: what they hold, and what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack, overload

from django.db.models.expressions import Combinable
from django.utils.translation import gettext_lazy as _
from pgvector import SparseVector

from dorm_vector.anyvector import AnyVectorField
from dorm_vector.types import (
    BitsLike,
    BitsRead,
    BitsSet,
    FieldOptions,
    SparseLike,
    SparseRead,
    SparseSet,
    VectorLike,
    VectorRead,
    VectorSet,
)

if TYPE_CHECKING:
    import numpy as np
    from django.utils.functional import _StrOrPromise as Text
    from numpy.typing import NDArray

__all__ = ["AnyVectorField", "BitField", "HalfVectorField", "SparseVectorField", "VectorField"]


class VectorField(AnyVectorField[VectorSet, VectorRead]):
    """
    A vector of ``dimensions`` finite float32 numbers, 1 to 16,000 of them.

    ``dimensions`` is the first positional argument or a keyword. Reads ``list[float]``, the exact
    float32 values. Takes whatever ``dorm_vector.values.to_float32`` takes; anything else is a
    ValidationError from ``clean()``, from forms and from saving alike. ``numpy=True`` reads numpy
    arrays of float32.

    Raises ValueError for a number of dimensions that no vector can have.
    """

    description = _("Vector (%(dimensions)s dimensions)")
    kind = "vector"
    per_float = 1

    @overload
    def __init__(
        self: VectorField[VectorLike | Combinable, list[float]],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: VectorField[VectorLike | Combinable, NDArray[np.float32]],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: VectorField[VectorLike | Combinable | None, list[float] | None],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[True],
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: VectorField[VectorLike | Combinable | None, NDArray[np.float32] | None],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[True],
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    def __init__(
        self,
        *args: int | Text,
        dimensions: int | None = None,
        null: bool = False,
        numpy: bool = False,
        **options: Unpack[FieldOptions],
    ) -> None:
        super().__init__(*args, dimensions=dimensions, null=null, numpy=numpy, **options)


class HalfVectorField(AnyVectorField[VectorSet, VectorRead]):
    """
    A vector of ``dimensions`` float16 numbers, 1 to 16,000 of them.

    Values are rounded to float16, and refused beyond its range, 65,504. Reads ``list[float]``, the
    rounded values, or with ``numpy=True`` arrays of float16.

    Raises ValueError for a number of dimensions that no vector can have.
    """

    description = _("Vector of half precision (%(dimensions)s dimensions)")
    kind = "halfvec"
    per_float = 2

    @overload
    def __init__(
        self: HalfVectorField[VectorLike | Combinable, list[float]],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: HalfVectorField[VectorLike | Combinable, NDArray[np.float16]],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: HalfVectorField[VectorLike | Combinable | None, list[float] | None],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[True],
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: HalfVectorField[VectorLike | Combinable | None, NDArray[np.float16] | None],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[True],
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    def __init__(
        self,
        *args: int | Text,
        dimensions: int | None = None,
        null: bool = False,
        numpy: bool = False,
        **options: Unpack[FieldOptions],
    ) -> None:
        super().__init__(*args, dimensions=dimensions, null=null, numpy=numpy, **options)


class BitField(AnyVectorField[BitsSet, BitsRead]):
    """
    A vector of ``length`` bits.

    Reads text of 0 and 1, or with ``numpy=True`` arrays of bool. Takes such text, lists of bools,
    numpy arrays of bools, pgvector's ``Bit``, and bytes, whose most significant bit comes first as
    in ``numpy.packbits``.

    Raises ValueError for a length that no vector can have.
    """

    description = _("Bits (%(dimensions)s)")
    kind = "bit"
    per_float = 32
    size_keyword = "length"

    @overload
    def __init__(
        self: BitField[BitsLike | Combinable, str],
        *args: int | Text,
        length: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: BitField[BitsLike | Combinable, NDArray[np.bool_]],
        *args: int | Text,
        length: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: BitField[BitsLike | Combinable | None, str | None],
        *args: int | Text,
        length: int = ...,
        null: Literal[True],
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: BitField[BitsLike | Combinable | None, NDArray[np.bool_] | None],
        *args: int | Text,
        length: int = ...,
        null: Literal[True],
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    def __init__(
        self,
        *args: int | Text,
        length: int | None = None,
        null: bool = False,
        numpy: bool = False,
        **options: Unpack[FieldOptions],
    ) -> None:
        super().__init__(*args, length=length, null=null, numpy=numpy, **options)

    @property
    def length(self) -> int:
        return self.dimensions


class SparseVectorField(AnyVectorField[SparseSet, SparseRead]):
    """
    A vector of ``dimensions``, up to 1,000,000,000, of which at most 16,000 are not zero.

    Reads pgvector's ``SparseVector``, or with ``numpy=True`` dense arrays of float32. Takes that,
    dicts of numbers by position, counting from 0, scipy's sparse arrays, text like ``{1:0.5}/3``
    which counts from 1, and dense vectors. On PostgreSQL only.

    Raises ValueError for a number of dimensions that no vector can have.
    """

    description = _("Sparse vector (%(dimensions)s dimensions)")
    kind = "sparsevec"

    @overload
    def __init__(
        self: SparseVectorField[SparseLike | Combinable, SparseVector],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: SparseVectorField[SparseLike | Combinable, NDArray[np.float32]],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[False] = ...,
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: SparseVectorField[SparseLike | Combinable | None, SparseVector | None],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[True],
        numpy: Literal[False] = ...,
        **options: Unpack[FieldOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: SparseVectorField[SparseLike | Combinable | None, NDArray[np.float32] | None],
        *args: int | Text,
        dimensions: int = ...,
        null: Literal[True],
        numpy: Literal[True],
        **options: Unpack[FieldOptions],
    ) -> None: ...

    def __init__(
        self,
        *args: int | Text,
        dimensions: int | None = None,
        null: bool = False,
        numpy: bool = False,
        **options: Unpack[FieldOptions],
    ) -> None:
        super().__init__(*args, dimensions=dimensions, null=null, numpy=numpy, **options)
