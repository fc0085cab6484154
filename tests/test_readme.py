"""
README and tutorial are followed to the letter, in an empty folder and on every engine.

What is typed is executed by a shell, with this Python as ``python``. Only ``pip install`` is left
out: this Python has what it would install.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.support import postgres
from tests.support.paths import ROOT

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CAPTION = re.compile(r"# (\S+\.py)\n")


RST_BLOCK = re.compile(
    r"^\.\. code-block:: (console|python|pycon)\n(?:   :caption: (.+)\n)?\n((?:(?:   .*)?\n)+)",
    re.MULTILINE,
)
# Executed by manage.py shell: the examples between two visits to the command line.
SESSION = """
import doctest
examples = doctest.DocTestParser().get_doctest({source!r}, {{}}, "tutorial", None, 0)
runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
assert runner.run(examples).failed == 0
"""


class Block(NamedTuple):
    language: str
    source: str


def first_search() -> Iterator[Block]:
    """The blocks of README's section of that name."""
    _, _, section = (ROOT / "README.md").read_text().partition("\n## A first search\n")
    for match in BLOCK.finditer(section.partition("\n## ")[0]):
        yield Block(*match.groups())


def commands(source: str) -> Iterator[tuple[str, str]]:
    """The lines that are typed, each with the output that is shown below it."""
    for part in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.fixture
def typed(tmp_path: Path) -> Callable[[str], str]:
    """A function that executes a command in an empty folder, and returns what it prints."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = f'#!/bin/sh\nexec "{sys.executable}"'
    for name, arguments in (("python", ""), ("django-admin", " -m django")):
        (folder / name).write_text(f'{python}{arguments} "$@"\n')
        (folder / name).chmod(0o755)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "PYTEST"))
    }
    environment |= {
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",
    }
    work = tmp_path / "empty"
    work.mkdir()

    def run(command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=work, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    run.folder = work  # type: ignore[attr-defined]
    return run


@pytest.fixture(params=["sqlite", "postgresql", "libsql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, Any] | None]:
    """An entry of DATABASES for a new project, or None for the one that it has."""
    if request.param == "sqlite":
        yield None
    elif request.param == "libsql":
        yield {"ENGINE": "dorm_vector.backends.libsql", "NAME": "db.libsql"}
    else:
        with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {postgres.SCRATCH}")
            yield {**postgres.database(), "NAME": postgres.SCRATCH}
            admin.execute(f"DROP DATABASE {postgres.SCRATCH} WITH (FORCE)")


def test_first_search(typed: Any, database: dict[str, Any] | None) -> None:
    shown = []
    for block in first_search():
        if block.language == "python":
            write(typed.folder, block.source, database)
        else:
            shown += follow(typed, block.source)
    assert shown[-1] == "gold 18.03\ntomato 117.99\ngold navy\n"


def tutorial() -> Iterator[Block]:
    """The blocks of the tutorial up to its last section, which leaves SQLite for PostgreSQL."""
    text, _, _ = (ROOT / "docs" / "tutorial.rst").read_text().partition("\nPostgreSQL\n===")
    for language, caption, source in RST_BLOCK.findall(text):
        source = textwrap.dedent(source)
        yield Block(language, f"# {caption}\n{source}" if caption else source)


def as_session(source: str) -> str:
    """A python block as what is typed into a shell. It shows no values, so none are compared."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        mark = ">>> _ = " if isinstance(node, ast.Expr) else ">>> "
        lines[node.lineno - 1] = mark + lines[node.lineno - 1]
    return "".join(
        f"{line if line.startswith('>>> ') else f'... {line}'}\n" for line in lines if line
    )


def test_tutorial(typed: Any, database: dict[str, Any] | None) -> None:
    sessions = 0
    for kind, group in itertools.groupby(tutorial(), key=kind_of):
        found = list(group)
        if kind == "session":
            source = "\n".join(
                as_session(block.source) if block.language == "python" else block.source
                for block in found
            )
            (typed.folder / "session.py").write_text(SESSION.format(source=source))
            typed("python manage.py shell --verbosity 0 < session.py")
            sessions += 1
        for block in found if kind == "file" else ():
            write(typed.folder, block.source, database)
        for block in found if kind == "console" else ():
            follow(typed, block.source)
    assert sessions == 2


def kind_of(block: Block) -> str:
    if block.language == "console":
        return "console"
    return "file" if CAPTION.match(block.source) else "session"


def follow(typed: Any, source: str) -> list[str]:
    """Type the commands of a block, and compare what is printed with what is shown."""
    shown = []
    for command, output in commands(source):
        if not command.startswith("python -m pip install "):
            printed = typed(command)
            assert not output.strip() or printed.strip() == output.strip()
            shown.append(output)
    return shown


def write(folder: Path, source: str, database: dict[str, Any] | None) -> None:
    """Write the file that the first line names, or what is to be added to the settings."""
    match = CAPTION.match(source)
    assert match, f"The block names no file:\n{source}"
    path = folder / match[1]
    if path.name != "settings.py":
        path.write_text(source)
    else:
        added = f'DATABASES = {{"default": {database!r}}}\n' if database else ""
        path.write_text(path.read_text() + source + added)
