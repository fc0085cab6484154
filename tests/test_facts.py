"""The numbers in docs/facts.txt, which several pages have, are those of the code."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from dorm_vector import sparse, values
from dorm_vector.engines.libsql import LibSQLEngine
from dorm_vector.engines.libsql import search as libsql
from dorm_vector.engines.postgresql import checks
from dorm_vector.engines.postgresql import search as postgresql
from dorm_vector.engines.sqlite import SQLiteEngine
from dorm_vector.engines.sqlite import search as sqlite
from tests.support.paths import DOCS, ROOT

FACTS = dict(re.findall(r"^\.\. \|(.+)\| replace:: (.+)$", (DOCS / "facts.txt").read_text(), re.M))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
CODE: dict[str, Any] = {
    "most dimensions": values.MAX_DIMENSIONS,
    "most sparse dimensions": sparse.MAX_DIMENSIONS,
    "most elements": sparse.MAX_ELEMENTS,
    "graph from": libsql.LEAST_VECTORS,
    "graph reach": libsql.SEARCH_L,
    "vec0 reach": sqlite.FEW_CANDIDATES,
    "vec0 dimensions": SQLiteEngine.index_dimensions["vector"],
    "graph dimensions": LibSQLEngine.index_dimensions["vector"],
    "rows in sequence": postgresql.LADDER[-1][0],
    "sound pgvector": ".".join(map(str, checks.SOUND)),
    "sqlite-vec release": re.search(r">=([\d.]+)", EXTRAS["sqlite"][0])[1],
    "libsql release": re.search(r">=([\d.]+)", EXTRAS["libsql"][0])[1],
}


def test_every_fact() -> None:
    written = {
        name: f"{value:,}" if isinstance(value, int) else value for name, value in CODE.items()
    }
    assert written == FACTS


@pytest.mark.parametrize("name", list(FACTS))
def test_facts_are_used(name: str) -> None:
    assert any(f"|{name}|" in page.read_text() for page in DOCS.glob("*.rst"))


def test_the_size_of_the_package() -> None:
    """It is in the table of what else there is, in thousands of lines."""
    lines = sum(len(path.read_text().splitlines()) for path in (ROOT / "dorm_vector").rglob("*.py"))
    written = re.search(r"- ([\d,]+) lines", (DOCS / "comparison.rst").read_text())
    assert int(written[1].replace(",", "")) == pytest.approx(lines, rel=0.1)
