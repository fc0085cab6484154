"""
What a valid vector is: the accepted Python types, the length, and finiteness.

Everything that enters the database passes through ``pack``, whichever way it comes: assignment,
forms, fixtures, lookups and query vectors. No more is read of a value than tells whether it is
right: of what has no end, one component more than there may be.
"""

from __future__ import annotations

import itertools
import math
import reprlib
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Set
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from pgvector import Bit, SparseVector

from dorm_vector import codecs
from dorm_vector.packing import PLAIN, packed_at_once, packer

__all__ = [
    "MAX_DIMENSIONS",
    "check_dimensions",
    "check_length",
    "check_most",
    "check_shape",
    "components",
    "is_stream",
    "pack",
    "short",
    "to_float32",
]

# The most that a column of float32 or float16 takes.
MAX_DIMENSIONS = 16_000
# Numbers from which on numpy adds them up faster than Python.
WORTH_NUMPY = 64
# Bits of an int that is shown; Python itself refuses to write more than 4,300 digits.
SHOWN_BITS = 10_000
# What holds its components, or is no vector.
HELD = (list, tuple, array, str, bytes, bytearray, memoryview, Mapping, Set, SparseVector)
# The kinds of numpy's types that are numbers.
NUMBER_DTYPES = frozenset("fiub")


class _Short(reprlib.Repr):
    """What may be long, cut short, also where its own repr() fails."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlist = self.maxtuple = self.maxarray = 4

    def repr_int(self, x: int, level: int) -> str:
        bits = x.bit_length()
        return f"an int of {bits:,} bits" if bits > SHOWN_BITS else super().repr_int(x, level)


_short = _Short()


def short(value: object) -> str:
    """The repr of a value that may be long, for sentences."""
    return _short.repr(value)


def pack(value: object, dimensions: int | None = None) -> bytes:
    """
    ``value`` as packed little-endian float32, the form in which vectors travel inside the package.

    Accepts what ``to_float32`` accepts. Raises ValidationError for anything that is not a vector of
    ``dimensions`` finite float32 numbers; any length from 1 to 16,000 will do where ``dimensions``
    is None.
    """
    if dimensions and (packed := packer(dimensions)(value)) is not None:
        return packed
    packed = packed_at_once(value, dimensions or MAX_DIMENSIONS)
    if packed is None:
        packed = codecs.to_packed(to_float32(value, dimensions))
    check_dimensions(len(packed) // 4, dimensions)
    return packed


def check_dimensions(actual: int, expected: int | None, unit: str = "dimensions") -> None:
    """Raise ValidationError unless a vector of ``actual`` components is one of ``expected``."""
    if not actual or expected not in (None, actual):
        raise _wrong_length(str(actual), actual, expected, unit)


def check_most(actual: int, expected: int | None, most: int, unit: str = "dimensions") -> None:
    """Raise ValidationError for more components than ``expected``, or than the ``most`` of any."""
    if actual > (expected or most):
        raise _wrong_length(str(actual), actual, expected, unit, most)


def _wrong_length(
    said: str, actual: int, expected: int | None, unit: str, most: int | None = None
) -> ValidationError:
    wanted = f"{expected or '1 or more'} {unit}"
    if expected is None and most is not None:
        wanted = f"{most} {unit} at most"
    return ValidationError(
        f"Expected {wanted}, not {said}.",
        code="dimensions",
        params={"expected": expected, "actual": actual},
    )


def to_float32(
    value: object, dimensions: int | None = None, *, most: int = MAX_DIMENSIONS
) -> array[float]:
    """
    ``value`` as an ``array("f")`` of finite numbers.

    Accepts lists, tuples, ranges, arrays, one-dimensional numpy arrays of any float or integer
    type, pgvector's ``Vector``, text like ``"[1,2,3]"``, packed little-endian float32 bytes, and
    any other ordered iterable of numbers. Raises ValidationError with one of the codes
    ``invalid``, ``not_a_number``, ``nested``, ``nan``, ``infinite`` and ``overflow``, and
    ``dimensions`` for more than ``dimensions``, or than ``most`` where that is None.
    """
    numbers = components(value, dimensions, most)
    values = _array(numbers)
    if not _all_finite(values):
        _refuse(_as_list(numbers))
    return values


def components(value: object, dimensions: int | None, most: int, unit: str = "dimensions") -> Any:
    """
    The components of ``value``: a list or tuple, an array or a numpy array of one dimension.

    Raises ValidationError for what has none, and, without reading more than one of them, for more
    than ``dimensions``, or than ``most`` where that is None.
    """
    if isinstance(value, str):
        if value.lstrip().startswith("["):  # each comma is one more component
            check_most(value.count(",") + 1, dimensions, most, unit)
        return _from_text(value)
    if isinstance(value, memoryview):
        return _from_memoryview(value, dimensions, most, unit)
    if isinstance(value, bytes | bytearray):
        check_most(len(value) // 4, dimensions, most, unit)
        return _from_packed(value)
    if isinstance(value, SparseVector):
        check_most(value.dimensions(), dimensions, most, unit)
        return value.to_list()
    if isinstance(value, Bit | Mapping | Set):
        raise _invalid(value)
    check_length(value, dimensions, most, unit)
    if isinstance(value, list | tuple | array):
        return value
    return _of_another_type(value, dimensions, most, unit)


def check_length(value: Any, dimensions: int | None, most: int, unit: str = "dimensions") -> None:
    """``check_most`` of a value that may have a length."""
    try:
        length = len(value)
    except (TypeError, AttributeError):  # it has none
        return
    except OverflowError:  # a range may have more than a machine counts
        more = f"{sys.maxsize} or more"
        raise _wrong_length(more, sys.maxsize, dimensions, unit, most) from None
    if getattr(value, "ndim", 1) == 1:
        check_most(length, dimensions, most, unit)


def is_stream(value: object) -> bool:
    """Whether ``value`` may make its components as they are read, so that there is no end."""
    held = isinstance(value, HELD) or hasattr(value, "to_list") or hasattr(value, "__array__")
    return isinstance(value, Iterable) and not held


def _of_another_type(value: object, dimensions: int | None, most: int, unit: str) -> Any:
    if hasattr(value, "to_list"):  # pgvector's value classes, and series
        listed = value.to_list()
        if isinstance(listed, list):
            return listed
    if hasattr(value, "__array__"):  # numpy, and what speaks its protocol
        return _from_numpy(_as_array(value))
    if not isinstance(value, Iterable):
        raise _invalid(value)
    limit = dimensions or most
    numbers = list(itertools.islice(value, limit + 1))
    if len(numbers) > limit:
        said = f"{limit + 1} or more"
        raise _wrong_length(said, limit + 1, dimensions, unit, most)
    return numbers


def _all_finite(values: array[float]) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None or len(values) < WORTH_NUMPY:
        # A sum of float32 numbers cannot overflow a double, so it is finite where they all are.
        return math.isfinite(sum(values))
    return bool(numpy.isfinite(numpy.frombuffer(values, dtype="f4")).all())


def _from_text(value: str) -> list[float]:
    try:
        return codecs.from_text(value)
    except ValueError:
        raise _invalid(value) from None


def _from_packed(value: bytes | bytearray) -> array[float]:
    try:
        return codecs.from_packed(value)
    except ValueError:
        raise ValidationError(
            f"{len(value)} bytes are not a vector: packed float32 takes four bytes per dimension.",
            code="invalid",
        ) from None


def _from_memoryview(value: memoryview, dimensions: int | None, most: int, unit: str) -> Any:
    check_not_released(value)
    check_shape(value, "a memoryview")
    if value.format in ("B", "c"):
        check_most(value.nbytes // 4, dimensions, most, unit)
        return _from_packed(value.tobytes())
    check_most(len(value), dimensions, most, unit)
    order, code = value.format[:-1], value.format[-1:]
    try:
        # memoryview.tolist() knows only the formats of the machine's own byte order.
        return struct.unpack(f"{order}{len(value)}{code}", value.tobytes())
    except (struct.error, ValueError):
        raise ValidationError(
            f"Expected numbers, not a memoryview of the format {value.format!r}.",
            code="not_a_number",
        ) from None


def check_not_released(value: memoryview) -> None:
    try:
        value.nbytes  # noqa: B018 - asked for its error
    except ValueError:
        raise _invalid(value) from None


def check_shape(value: Any, what: str) -> None:
    """Raise ValidationError unless an array, or ``what``, has one dimension."""
    if value.ndim != 1:
        raise ValidationError(
            f"Expected a vector, not {what} of shape {value.shape}.", code="nested"
        )


def _as_array(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    try:
        made = value.__array__()
    except Exception as error:  # a tensor on another device, or of a type that numpy lacks
        raise ValidationError(f"{short(value)} is not a vector: {error}", code="invalid") from error
    if numpy is None or not isinstance(made, numpy.ndarray):
        raise _invalid(value)
    # The protocol would take the mask away.
    return value if isinstance(value, numpy.ma.MaskedArray) else made


def _from_numpy(value: Any) -> Any:
    check_shape(value, "an array")
    if getattr(value.dtype, "kind", "V") not in NUMBER_DTYPES:
        raise ValidationError(
            f"Expected numbers, not an array of {value.dtype}.", code="not_a_number"
        )
    import numpy

    if _is_masked(value):
        raise _not_a_number(int(numpy.argmax(value.mask)), "masked")
    return numpy.asarray(value)


def _array(numbers: Any) -> array[float]:
    if isinstance(numbers, array) and numbers.typecode == "f":
        return numbers
    if hasattr(numbers, "dtype"):
        return _array_from_numpy(numbers)
    if not PLAIN.issuperset(map(type, numbers)):
        return array("f", [_number(place, number) for place, number in enumerate(numbers)])
    try:
        return array("f", numbers)
    except (OverflowError, TypeError):  # an int too large for a double, or an array("u")
        _refuse(numbers)


def _array_from_numpy(numbers: Any) -> array[float]:
    import numpy

    with numpy.errstate(over="ignore"):
        return codecs.from_packed(numbers.astype("<f4", copy=False).tobytes())


def _as_list(numbers: Any) -> Any:
    return numbers.tolist() if hasattr(numbers, "tolist") else numbers


def _refuse(numbers: Iterable[Any]) -> NoReturn:
    """Raise for the first component that is no finite float32."""
    for position, number in enumerate(numbers):
        _number(position, number)
    raise _invalid(numbers)


def _number(position: int, number: Any) -> float:
    """A component as a float. Raises ValidationError for what is no finite float32 number."""
    value = _as_float(position, number)
    if math.isnan(value):
        raise ValidationError(f"Component {position} is NaN.", code="nan")
    if math.isinf(value) and number == value:
        raise ValidationError(f"Component {position} is infinite.", code="infinite")
    if abs(value) >= codecs.FLOAT32_OVERFLOW:
        raise ValidationError(
            f"Component {position} is {short(number)}, beyond the range of float32.",
            code="overflow",
        )
    return value


def _as_float(position: int, number: Any) -> float:
    nested = isinstance(number, Iterable) and not isinstance(number, str | bytes)
    if nested and getattr(number, "ndim", 1) != 0:
        raise _not_a_number(position, short(number), "nested")
    if _is_masked(number):
        raise _not_a_number(position, "masked")
    is_number = hasattr(number, "__float__") and not isinstance(number, complex | str)
    if not is_number or getattr(getattr(number, "dtype", None), "kind", "f") not in NUMBER_DTYPES:
        raise _not_a_number(position, short(number))
    try:
        return float(number)
    except OverflowError:  # an int, or a fraction, that is too large even for a double
        return math.inf
    except Exception:
        raise _not_a_number(position, short(number)) from None


def _not_a_number(position: int, what: str, code: str = "not_a_number") -> ValidationError:
    return ValidationError(f"Component {position} is {what}, not a number.", code=code)


def _is_masked(value: object) -> bool:
    """Whether something of an array, or of one of its elements, is masked."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        return False
    return bool(numpy.any(getattr(value, "mask", False)))


def _invalid(value: object) -> ValidationError:
    return ValidationError(f"{short(value)} is not a vector.", code="invalid")
