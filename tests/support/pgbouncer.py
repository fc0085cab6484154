"""PgBouncer in front of the server of the tests, in transaction mode."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import postgres

__all__ = ["SESSIONS", "pooled"]

# Sessions of the server, which clients share; each transaction gets the next one.
SESSIONS = 3
PORT = 6432

CONFIGURATION = """
[databases]
* = {server}
[pgbouncer]
unix_socket_dir = {folder}
listen_addr =
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
min_pool_size = 0
server_round_robin = 1
logfile = {folder}/log
pidfile = {folder}/pid
"""


@contextlib.contextmanager
def pooled(name: str) -> Iterator[dict[str, Any]]:
    """
    What differs in Django's settings for a database behind PgBouncer, whose sessions are all open.

    Skips a test where the program is not installed.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed.")
    folder = Path(tempfile.mkdtemp(prefix="dorm_vector_pool_"))
    process = subprocess.Popen([program, "-q", *_as_owner(folder), str(_configured(folder))])
    try:
        _wait(folder)
        settings = {"HOST": str(folder), "PORT": PORT, "DISABLE_SERVER_SIDE_CURSORS": True}
        _open_sessions({"host": str(folder), "port": PORT, "dbname": name})
        yield settings
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _configured(folder: Path) -> Path:
    database = postgres.database()
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    given = {key: database[name] for key, name in names.items() if database[name]}
    server = " ".join(f"{key}={value}" for key, value in given.items())
    file = folder / "pgbouncer.ini"
    file.write_text(
        CONFIGURATION.format(server=server, folder=folder, port=PORT, sessions=SESSIONS)
    )
    return file


def _as_owner(folder: Path) -> list[str]:
    """PgBouncer does not run as root; as who owns the server, it reaches that one's socket."""
    if os.getuid() != 0:
        return []
    host = postgres.database()["HOST"]
    owner = Path(host).stat().st_uid if host.startswith("/") else pwd.getpwnam("nobody").pw_uid
    os.chown(folder, owner, -1)
    return ["-u", pwd.getpwuid(owner).pw_name]


def _wait(folder: Path) -> None:
    for _ in range(600):
        if (folder / f".s.PGSQL.{PORT}").exists():
            return
        time.sleep(0.05)
    raise TimeoutError((folder / "log").read_text())


def _open_sessions(address: dict[str, Any]) -> None:
    """As many transactions at a time as there are sessions."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(psycopg.connect(**address, prepare_threshold=None))
            for _ in range(SESSIONS)
        ]
        pids = {client.execute("SELECT pg_backend_pid()").fetchone() for client in clients}
    assert len(pids) == SESSIONS
