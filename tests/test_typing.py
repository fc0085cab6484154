"""
What mypy and pyright say of a project that uses the package: tests/typing.

A line that they have to refuse ends in ``# refused: the codes of mypy / the rules of pyright``, and
``-`` stands for none. Any other word of theirs is a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SHOP = ROOT / "tests" / "typing" / "shop"
MARK = re.compile(r"# refused: (?P<mypy>[\w\-, ]+) / (?P<pyright>[\w\-, ]+)$")
MYPY = """
[mypy]
strict = true
plugins = mypy_django_plugin.main
[mypy.plugins.django-stubs]
django_settings_module = shop.settings
"""

# A line of a module to the codes of what is said of it.
Words = dict[tuple[str, int], set[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project in a folder of its own, as somebody has it who has installed the package."""
    shutil.copytree(SHOP, tmp_path / "shop")
    (tmp_path / "mypy.ini").write_text(MYPY)
    settings = {"include": ["shop"], "extraPaths": [str(ROOT)], "typeCheckingMode": "standard"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    return tmp_path


def marked(checker: str) -> Words:
    """What a type checker has to say, by the marks."""
    return {
        (path.name, number): set(found[checker].split(", "))
        for path in SHOP.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := MARK.search(line)) and found[checker] != "-"
    }


def words(said: list[tuple[str, int, str]]) -> Words:
    found: Words = {}
    for path, line, code in said:
        found.setdefault((Path(path).name, line), set()).add(code)
    return found


def output(project: Path, *command: str) -> str:
    """What a command prints where the package is found as if it were installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(project)])}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_mypy(project: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--output", "json", "--no-incremental", "shop"]
    said = [json.loads(line) for line in output(project, *command).splitlines()]
    assert words([(each["file"], each["line"], each["code"]) for each in said]) == marked("mypy")


def test_pyright(project: Path) -> None:
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--outputjson"]
    said = json.loads(output(project, *command))["generalDiagnostics"]
    found = [(each["file"], each["range"]["start"]["line"] + 1, each["rule"]) for each in said]
    assert words(found) == marked("pyright")


def test_marks() -> None:
    lines = [line for path in SHOP.glob("*.py") for line in path.read_text().splitlines()]
    assert [line for line in lines if "refused:" in line and not MARK.search(line)] == []
