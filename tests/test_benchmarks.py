"""The documentation's tables of measurements are what ``make bench`` writes, and no others."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import DOCS, ROOT

BENCHMARKS = ROOT / "benchmarks"
SHOWN = re.compile(r"^\.\. (?:include|image|figure):: performance/(\S+)$", re.MULTILINE)
#: A simple table with its rules, as the pages have them by hand.
TABLE = re.compile(r"^ *=+(?:  +=+)+\n(?:.*\S.*\n)+?(?=\n|\Z)", re.MULTILINE)
#: Such as 0.993 and .95, but no version of anything.
MEASURED = re.compile(r"(?<![\d.])\d*\.\d+(?![\d.])")


def programs() -> dict[str, tuple[str, ...]]:
    """Of each program of the suite the files that it writes. Nothing is imported."""
    for node in ast.parse((BENCHMARKS / "suite.py").read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PROGRAMS":
            assert node.value is not None
            found: dict[str, tuple[str, ...]] = ast.literal_eval(node.value)
            return found
    raise AssertionError("benchmarks/suite.py has no PROGRAMS.")


PROGRAMS = programs()
WRITTEN = sorted(file for files in PROGRAMS.values() for file in files)


def test_what_is_shown_is_written() -> None:
    shown = [file for page in DOCS.glob("*.rst") for file in SHOWN.findall(page.read_text())]
    assert sorted(shown) == WRITTEN


def test_nothing_else_lies_there() -> None:
    assert sorted(path.name for path in (DOCS / "performance").iterdir()) == WRITTEN


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_says_what_it_writes(name: str) -> None:
    text = ast.get_docstring(ast.parse((BENCHMARKS / f"{name}.py").read_text())) or ""
    said = re.search(r"Writes\s([^.]|\.(?=\w))+", text)
    assert said is not None
    tables = {file for file in PROGRAMS[name] if file.endswith(".txt")}
    assert set(re.findall(r"\w+\.txt", said[0])) == tables


def test_a_name_that_is_none_of_a_program() -> None:
    command = [sys.executable, str(BENCHMARKS / "suite.py"), "loading", "leading"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"suite.py: error: there is no leading: choose from {', '.join(PROGRAMS)}"
    )


@pytest.mark.parametrize("page", ["hybrid", "performance", "scaling"])
def test_tables_of_measurements_are_included(page: str) -> None:
    """None is typed by hand."""
    tables = TABLE.findall(Path(DOCS, f"{page}.rst").read_text())
    assert [table for table in tables if MEASURED.search(table)] == []


def test_the_pattern_finds_such_a_table() -> None:
    text = "One:\n\n===  ====\na    b\n===  ====\nx    0.95\n===  ====\n\nTwo\n"
    (table,) = TABLE.findall(text)
    assert table.startswith("===  ====\na")
    assert MEASURED.search(table)
    assert not MEASURED.search("pgvector 0.8.0 and 12 rows")
