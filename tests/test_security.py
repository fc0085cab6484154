"""What SECURITY.md says is guarded: each line has tests that run. Some of them are only here."""

from __future__ import annotations

import ast
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError, connections

from tests.support.paths import ROOT

TABLE = (ROOT / "SECURITY.md").read_text().partition("## What dorm_vector guards")[2]
LINES = {
    what: re.findall(r"`([^`]+\.py[^`]*)`", tests)
    for what, tests in re.findall(r"^\| (?!what|---)(.+?) \|.*\| (.+?) \|$", TABLE, re.MULTILINE)
}


class TestLines:
    def test_each_line_has_tests(self) -> None:
        assert len(LINES) >= 17
        assert [what for what, tests in LINES.items() if not tests] == []

    def test_they_are_there(self) -> None:
        named = sorted({f"tests/{each}" for tests in LINES.values() for each in tests})
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
        ended = subprocess.run(
            [*command, *named],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        collected = ended.stdout.splitlines()
        assert [
            each for each in named if not any(line.startswith(each) for line in collected)
        ] == []


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted((ROOT / "dorm_vector").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            yield str(path.relative_to(ROOT)), node


class TestCode:
    """Nothing that comes in is run."""

    # Whether the settings of a worker can go to another process.
    PICKLES = {"dorm_vector/embeddings/workers.py": {"dumps"}}
    # Names in settings, on the command line, in test cases of Django's, and of installed apps.
    IMPORTS = {
        "dorm_vector/engines/__init__.py",
        "dorm_vector/backends/libsql/features.py",
        "dorm_vector/embeddings/workers.py",
        "dorm_vector/management/chaining.py",
        "dorm_vector/migration_checks.py",
    }

    def test_nothing_is_evaluated(self) -> None:
        calls = {
            (path, node.func.id)
            for path, node in sources()
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert {
            each for each in calls if each[1] in {"eval", "exec", "compile", "__import__"}
        } == set()

    def test_nothing_is_unpickled(self) -> None:
        used: dict[str, set[str]] = {}
        for path, node in sources():
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"marshal", "shelve", "dill", "yaml"} & {*names}, path
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "pickle":
                used.setdefault(path, set()).add(node.attr)
        assert used == self.PICKLES

    def test_dotted_paths(self) -> None:
        importing = {
            path
            for path, node in sources()
            if isinstance(node, ast.Name) and node.id in {"import_string", "import_module"}
        }
        assert importing == self.IMPORTS


class TestExtensions:
    def test_no_sql_loads_another_one(self, db: None, tmp_path: Path) -> None:
        library = tmp_path / "evil.so"
        library.write_bytes(b"\x7fELF")
        with connections["default"].cursor() as cursor, pytest.raises(DatabaseError) as caught:
            cursor.execute("SELECT load_extension(%s)", [str(library)])
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        # Where Python was built without it, there is no such function.
        assert str(caught.value) in {"not authorized", "no such function: load_extension"}
