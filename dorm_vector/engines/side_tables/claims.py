"""Claims by file locks of the operating system, on a file that stands for a database."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import tempfile
import threading
from collections.abc import Iterable
from typing import Any

from dorm_vector.engines.base.claims import Claims, number

__all__ = ["FileClaims"]


def _fcntl() -> Any:
    try:
        return importlib.import_module("fcntl")
    except ImportError:  # Windows
        return None


fcntl = _fcntl()


class LockFile:
    """
    A file whose bytes are locked, each by one process, and there by one thread.

    It stays empty, and is kept: deleting it would pull it from under others who open it.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self.held: set[int] = set()
        self.mutex = threading.Lock()

    def lock(self, place: int) -> bool:
        with self.mutex:
            # The system lets a process lock the same byte again.
            if place in self.held:
                return False
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                return False
            self.held.add(place)
            return True

    def unlock(self, place: int) -> None:
        with self.mutex:
            self.held.discard(place)
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, place)


@functools.cache
def _lock_file(database: str, process: int) -> LockFile | None:
    """The file of a database, opened once in a process: closing it would release all locks."""
    if fcntl is None:
        return None
    digest = hashlib.sha256(database.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    folder = tempfile.gettempdir()
    path = os.path.join(folder, f"dorm_vector_{os.getuid()}_{digest}.lock")
    with contextlib.suppress(OSError):
        return LockFile(path)
    return None


class FileClaims(Claims):
    """
    Claims among the processes of one user on one machine, which work on the same ``database``.

    On Windows, and between machines, nothing is claimed.
    """

    def __init__(self, database: str, column: str) -> None:
        self.file = _lock_file(database, os.getpid())
        self.column = column
        self.places: dict[Any, int] = {}

    def __exit__(self, *exc_info: object) -> None:
        self.release(list(self.places))

    def take(self, keys: list[Any]) -> list[Any]:
        if self.file is None:
            return keys
        taken = []
        for key in keys:
            place = number(self.column, key)
            if self.file.lock(place):
                self.places[key] = place
                taken.append(key)
        return taken

    def release(self, keys: Iterable[Any]) -> None:
        for key in keys:
            place = self.places.pop(key, None)
            if place is not None and self.file is not None:
                self.file.unlock(place)
