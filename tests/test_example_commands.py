"""What the example's commands say where something is wrong, and where they are stopped."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.exceptions import ImproperlyConfigured

from example_project import databases
from tests.support.paths import ROOT

CONTROL_C = b"\x03"


def manage(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "example_project/manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


class TestURLs:
    @pytest.mark.parametrize(
        ("url", "message"),
        [
            (
                "mysql://u:secret@h/db",
                "DATABASE_URL, 'mysql://u:***@h/db', has no scheme that is known; "
                "use one of sqlite, postgres, postgresql, libsql.",
            ),
            (
                "db.sqlite3",
                "DATABASE_URL, 'db.sqlite3', has no scheme that is known; "
                "use one of sqlite, postgres, postgresql, libsql.",
            ),
            (
                "sqlite://db.sqlite3",
                "DATABASE_URL, 'sqlite://db.sqlite3', names no file; "
                "write sqlite:///relative/path.",
            ),
            (
                "libsql:///",
                "DATABASE_URL, 'libsql:///', names no file; write libsql:///relative/path.",
            ),
            (
                "postgresql://h:port/db",
                "DATABASE_URL, 'postgresql://h:***/db', cannot be read: its port is not a number "
                "from 0 to 65535, or its user or password has one of / ? # [ ] @ : that is not "
                "percent-encoded.",
            ),
            (
                "postgresql://u:se#cret@h/db",
                "DATABASE_URL, 'postgresql://u:***@h/db', cannot be read: its port is not a number "
                "from 0 to 65535, or its user or password has one of / ? # [ ] @ : that is not "
                "percent-encoded.",
            ),
        ],
    )
    def test_refused(self, url: str, message: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            databases.from_url(url)
        assert str(caught.value) == message
        ended = manage(url, "check")
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"{message}\n")

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://h/db", "postgresql://h/db"),
            ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
            ("postgresql://u:p@h:5432/db", "postgresql://u:***@h:5432/db"),
            ("postgresql://u:p@[::1]:5432/db", "postgresql://u:***@[::1]:5432/db"),
            ("postgresql://[::1]/db", "postgresql://[::1]/db"),
            ("postgresql://u:a/b?c#d@h/db", "postgresql://u:***@h/db"),
            ("postgresql://u:a@b@h/db", "postgresql://u:***@h/db"),
            ("postgresql:///db?user=u&password=p", "postgresql:///db?user=u&password=***"),
            ("postgresql:///db?sslmode=require", "postgresql:///db?sslmode=require"),
            ("libsql://h?auth_token=t.t.t&x=1", "libsql://h?auth_token=***&x=1"),
            ("libsql:///file.db?authToken=t", "libsql:///file.db?authToken=***"),
            ("sqlite:////tmp/a%20b.db", "sqlite:////tmp/a%20b.db"),
            ("u:p@h/db", "u:***@h/db"),
            ("postgresql://u:a?b", "postgresql://u:***?***"),
            ("word", "***"),
        ],
    )
    def test_shown_without_secrets(self, url: str, shown: str) -> None:
        assert databases.shown(url) == shown

    def test_a_server_that_is_not_there(self) -> None:
        ended = manage("postgresql://u:secret@127.0.0.1:1/db", "demo")
        assert (ended.returncode, ended.stdout) == (1, "")
        shown = re.escape("The database 'postgresql://u:***@127.0.0.1:1/db' cannot be used: ")
        assert re.fullmatch(rf"{shown}.*refused.*\.\n", ended.stderr)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("sqlite:////nowhere/at/all.db", "unable to open database file"),
            # Versions of Python put it otherwise.
            ("sqlite:///x.db?colour=1", ".*keyword argument.*"),
            (
                "libsql://127.0.0.1:1",
                r"The connection to the server failed: \[Errno \d+\] Connection refused",
            ),
        ],
    )
    def test_what_cannot_be_opened(self, url: str, reason: str) -> None:
        ended = manage(url, "demo")
        assert (ended.returncode, ended.stdout) == (1, "")
        shown = re.escape(f"The database '{url}' cannot be used: ")
        assert re.fullmatch(rf"{shown}{reason}\.\n", ended.stderr)

    def test_options_that_are_numbers(self) -> None:
        assert databases.from_url("sqlite:///x.db?timeout=20")["OPTIONS"] == {"timeout": 20.0}

    def test_no_table(self, tmp_path: Path) -> None:
        ended = manage(f"sqlite:///{tmp_path / 'empty.db'}", "search", "compress")
        assert ended.stderr == (
            "CommandError: The table cannot be searched (no such table: library_entry); "
            "run make demo, with the same DATABASE_URL.\n"
        )

    def test_no_words(self, tmp_path: Path) -> None:
        ended = manage(f"sqlite:///{tmp_path / 'empty.db'}", "search", "!!!")
        assert ended.stderr == "CommandError: There are no words in '!!!' to search for.\n"


class Stopped(NamedTuple):
    """How a command ended, and what it said after Ctrl-C."""

    status: int
    said: str


def stop(command: list[str], when: bytes, environment: dict[str, str]) -> Stopped:
    """Run a command in a terminal, and press Ctrl-C as soon as it says something."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.chdir(ROOT)
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        os.execvpe(command[0], command, {**os.environ, **environment})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    said, mark = b"", None
    try:
        while part := _read(terminal):
            said += part
            if mark is None and when in said:
                time.sleep(0.05)  # so that it does what it says
                said += _read(terminal) if when == b"Indexing" else b""
                mark = len(said)
                os.write(terminal, CONTROL_C)
    finally:
        os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert mark is not None, said
    text = said[mark:].decode().partition("^C")[2]
    # Colours, and what stood on a line before it was written over.
    text = re.sub(r"\x1b\[[\d;]*[mAK]", "", text.replace("\r\n", "\n"))
    return Stopped(status, re.sub(r"[^\n]*\r", "", text))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody has the terminal open
        return b""


class TestStopping:
    """Ctrl-C ends ``make demo`` in one line, whatever it does; without a word of make's own."""

    @pytest.fixture
    def installed(self, tmp_path: Path) -> str:
        """A virtual environment, for the Makefile, that has what the demo needs."""
        folder = tmp_path / "venv"
        (folder / "bin").mkdir(parents=True)
        runs = folder / "bin/python"
        runs.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        runs.chmod(0o755)
        (folder / ".demo").touch()
        return str(folder)

    def make(self, venv: str, when: bytes, **environment: str) -> Stopped:
        make = shutil.which("make")
        assert make
        given = {"MAKEFLAGS": "", **environment}
        return stop([make, "demo", f"VENV={venv}", f"PYTHON={sys.executable}"], when, given)

    def test_while_installing(self, tmp_path: Path) -> None:
        found = self.make(str(tmp_path / "venv"), b"Making a virtual environment")
        expected = "Stopped while installing; the same command goes on.\n"
        assert found == (signal.SIGINT, expected)
        assert not (tmp_path / "venv/.demo").exists()

    def test_while_an_object_is_finalized(self) -> None:
        """Where Python says that it ignores it, and goes on."""
        program = (
            "import runpy, sys, time, weakref\n"
            "class Thing: pass\n"
            "def interrupt(): raise KeyboardInterrupt\n"
            "def main():\n"
            "    thing = Thing()\n"
            "    weakref.finalize(thing, interrupt)\n"
            "    del thing\n"
            "    time.sleep(20)\n"
            "manage = runpy.run_path('example_project/manage.py', run_name='manage')\n"
            "sys.unraisablehook = manage['interrupt_again']\n"
            "try:\n"
            "    main()\n"
            "except KeyboardInterrupt:\n"
            "    print('stopped')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"stopped\n", b"")

    @pytest.mark.parametrize(
        ("when", "said"),
        [
            # Which may take no longer than to press the keys.
            (b"Creating the tables", r"Stopped\.|CommandError: Stopped with 0 entries .*\."),
            (b"Reading what", r"CommandError: Stopped with 0 entries in the index; make demo.*\."),
            (b"Indexing", r"CommandError: Stopped with [\d,]+ entries in the index; make demo.*\."),
        ],
    )
    def test_while_it_works(self, installed: str, tmp_path: Path, when: bytes, said: str) -> None:
        found = self.make(installed, when, DATABASE_URL=f"sqlite:///{tmp_path / 'demo.db'}")
        assert found.status == signal.SIGINT
        lines = [line for line in found.said.split("\n") if line and "Indexing:" not in line]
        assert len(lines) == 1, found.said
        assert re.fullmatch(said, lines[0])


class TestInstalling:
    PROGRAM = ROOT / ".ci/install.py"

    def run(self, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.PROGRAM), str(folder), "demo"]
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    @pytest.fixture
    def environment(self, tmp_path: Path) -> Path:
        """One whose pip is a program that says what pip says, and ends with FAKE_EXIT."""
        folder = tmp_path / "venv"
        (folder / "bin").mkdir(parents=True)
        program = folder / "bin/python"
        program.write_text(
            '#!/bin/sh\n[ "$1" = -c ] && exit 0\n'
            'echo "Collecting x"\necho "  Downloading tqdm-4.67-py3-none-any.whl (78 kB)"\n'
            'echo "  Downloading numpy-2.4.1-cp311-abi3-linux.whl (16.1 MB)"\n'
            'echo "Installing collected packages: tqdm, numpy"\nexit ${FAKE_EXIT:-0}\n'
        )
        program.chmod(0o755)
        return folder

    def test_what_takes_long_is_told(self, environment: Path) -> None:
        ended = self.run(environment)
        first, *rest, last = ended.stdout.splitlines()
        assert first == (
            f"Installing what “demo” needs into {environment}; the first time it is downloaded:"
        )
        assert rest == ["  numpy 2.4.1, 16.1 MB", "  2 packages are put in place ..."]
        assert re.fullmatch(r"Installed in \d+ s\.", last)
        assert (environment / ".demo").exists()

    def test_a_failure_shows_what_pip_said(self, environment: Path) -> None:
        ended = self.run(environment, FAKE_EXIT="1")
        assert ended.returncode == 1
        assert ended.stderr.splitlines() == [
            "Collecting x", "  Downloading tqdm-4.67-py3-none-any.whl (78 kB)",
            "  Downloading numpy-2.4.1-cp311-abi3-linux.whl (16.1 MB)",
            "Installing collected packages: tqdm, numpy",
            "pip failed; what it said is above.",
        ]  # fmt: skip
        assert not (environment / ".demo").exists()
