"""
Getting sqlite-vec into a ``sqlite3`` connection, in three tiers.

1. ``extension``: ``enable_load_extension``, where Python was built with it.
2. ``native``: many Pythons (pyenv's among them) were built without it, although the SQLite library
   beneath them can. sqlite-vec's entry point is then called for this one connection, through
   ctypes.
3. ``python``: where neither can be, functions of the same names in Python: right, but slow.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sqlite3
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from dorm_vector.engines.sqlite import functions as sqlite_functions

__all__ = ["TIERS", "best_tier", "load_first", "load_sqlite_vec_extension", "warn_of_fallback"]


class UnavailableError(Exception):
    """A tier is not available; the message says why."""


def load_sqlite_vec_extension(raw_connection: sqlite3.Connection, *, tier: str = "auto") -> str:
    """
    Load sqlite-vec into a raw ``sqlite3.Connection``, and return the tier that did it.

    With it come the functions and aggregates of dorm_vector's own, so that the SQL of a queryset
    runs there. The first tier that works is taken, or the one that ``tier`` names. Loading twice is
    harmless. Extension loading is off afterwards. Raises ImproperlyConfigured where a named tier
    is not available. Falling back to ``python`` unasked is a RuntimeWarning.
    """
    loaded, reasons = load_first(raw_connection, tier)
    sqlite_functions.register_own(raw_connection)
    if reasons and loaded == "python":
        warn_of_fallback(reasons)
    return loaded


def warn_of_fallback(reasons: str) -> None:
    warnings.warn(
        f"sqlite-vec cannot be loaded, so slow Python functions replace it ({reasons}).",
        RuntimeWarning,
        stacklevel=3,
    )


@functools.cache
def best_tier(tier: str | None) -> tuple[str | None, str]:
    """
    The tier that a new connection gets, and the reasons against those before it.

    ``tier`` is the setting: "auto", a tier, or None for no loading at all. "unavailable" where a
    named tier cannot be had.
    """
    if tier is None:
        return None, ""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        try:
            return load_first(connection, tier)
        except ImproperlyConfigured as error:
            return "unavailable", str(error)


def load_first(raw_connection: sqlite3.Connection, tier: str) -> tuple[str, str]:
    """Load the first tier that works, or ``tier``; and the reasons against those before it."""
    reasons: list[str] = []
    for name in TIERS if tier == "auto" else (tier,):
        try:
            TIERS[name](raw_connection)
        except UnavailableError as error:
            reasons.append(f"{name}: {error}")
        else:
            return name, "; ".join(reasons)
    raise ImproperlyConfigured(f"sqlite-vec cannot be loaded ({'; '.join(reasons)}).")


def _load_extension(raw_connection: sqlite3.Connection) -> None:
    path = _loadable_path()
    if not hasattr(raw_connection, "enable_load_extension"):
        raise UnavailableError("this Python was built without enable_load_extension")
    try:
        raw_connection.enable_load_extension(True)
        try:
            raw_connection.load_extension(path)
        finally:
            raw_connection.enable_load_extension(False)
    except sqlite3.Error as error:
        raise UnavailableError(f"{path}: {error}") from error


def _load_native(raw_connection: sqlite3.Connection) -> None:
    with _lock:
        loader = _native_loader()
    if not isinstance(raw_connection, sqlite3.Connection):
        raise UnavailableError(f"{type(raw_connection)} is not a sqlite3.Connection")
    raw_connection.execute("SELECT 1")  # raises where it is closed, or another thread's
    loader(raw_connection)


def _create_functions(raw_connection: sqlite3.Connection) -> None:
    sqlite_functions.register_all(raw_connection)


TIERS: dict[str, Callable[[sqlite3.Connection], None]] = {
    "extension": _load_extension,
    "native": _load_native,
    "python": _create_functions,
}


def _loadable_path() -> str:
    try:
        import sqlite_vec
    except ImportError:
        raise UnavailableError(
            "the package sqlite-vec is not installed; pip install 'dorm-vector[sqlite]'"
        ) from None
    return str(sqlite_vec.loadable_path())


_ENTRY_POINT = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p
)
_lock = threading.Lock()
_SUFFIXES = {"win32": ".dll", "darwin": ".dylib"}


@functools.cache
def _native_loader() -> Callable[[sqlite3.Connection], None]:
    """
    A function that calls ``sqlite3_vec_init`` for a connection, as sqlite3_load_extension() would.

    That takes two addresses: the connection's own handle, and the table of routines that SQLite
    hands to extensions. ``sqlite3_auto_extension`` delivers both for a connection that is opened
    for the purpose, and shows where Python's connection object keeps the handle: nothing is
    assumed about that object, and nothing stays registered in the process.

    Source: https://sqlite.org/c3ref/auto_extension.html
    """
    _require_extension_support()
    if sys.implementation.name != "cpython":
        raise UnavailableError(f"{sys.implementation.name} keeps its objects elsewhere")
    init = _open_library(_library_path(), "sqlite3_vec_init").sqlite3_vec_init
    init.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p)
    probe, handle, routines = _open_probe(_shared_library())
    with contextlib.closing(probe):
        if _handle(probe) != handle:
            raise UnavailableError("this Python keeps the handle of a connection elsewhere")

    def load(raw_connection: sqlite3.Connection) -> None:
        message = ctypes.c_char_p()
        code = init(_handle(raw_connection), ctypes.byref(message), routines)
        if code != sqlite3.SQLITE_OK:
            raise UnavailableError(f"sqlite3_vec_init failed with {code}: {message.value!r}")

    return load


def _require_extension_support() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        options = {option for (option,) in connection.execute("PRAGMA compile_options")}
    if "OMIT_LOAD_EXTENSION" in options:
        raise UnavailableError("SQLite was compiled with OMIT_LOAD_EXTENSION")


def _library_path() -> str:
    path = Path(_loadable_path())
    suffix = _SUFFIXES.get(sys.platform, ".so")
    return str(path.with_name(path.name + suffix))


def _shared_library() -> Any:
    """The SQLite library that Python's own module is linked to: symbols are sought there first."""
    import _sqlite3

    path = getattr(_sqlite3, "__file__", None)  # None where it is built into Python
    return _open_library(path, "sqlite3_auto_extension", "sqlite3_cancel_auto_extension")


def _open_library(path: str | None, *symbols: str) -> Any:
    try:
        library = ctypes.CDLL(path)
        for symbol in symbols:
            getattr(library, symbol)
    except (AttributeError, OSError, TypeError) as error:
        raise UnavailableError(str(error)) from error
    return library


# Every connection that was opened while the entry point below was registered.
_opened: list[tuple[int, int]] = []


def _remember(handle: int, _message: Any, routines: int) -> int:
    _opened.append((handle, routines))
    return sqlite3.SQLITE_OK


# Made once and kept: a thread that opens a connection may still be about to call the entry point
# when it has been cancelled.
_entry_point = _ENTRY_POINT(_remember)


def _open_probe(library: Any) -> tuple[sqlite3.Connection, int, int]:
    """A new connection, the handle that SQLite gave it, and the table of its routines."""
    library.sqlite3_auto_extension(_entry_point)
    try:
        probe = sqlite3.connect(":memory:")
    finally:
        library.sqlite3_cancel_auto_extension(_entry_point)
    # Another thread may have opened a connection meanwhile: the probe's handle is among them.
    opened = [pair for pair in _opened if pair[0] == _handle(probe)] or _opened[-1:]
    _opened.clear()
    handle, routines = opened[-1]
    return probe, handle, routines


def _handle(raw_connection: sqlite3.Connection) -> int | None:
    """The first word behind the object's header, which ``_native_loader`` verifies."""
    return ctypes.c_void_p.from_address(id(raw_connection) + object.__basicsize__).value
