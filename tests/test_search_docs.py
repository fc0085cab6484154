"""The tables of the page on planning, compared with the code."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from dorm_vector.engines import engine_for
from dorm_vector.engines.base import search as base
from dorm_vector.engines.libsql import search as libsql
from dorm_vector.engines.postgresql import search as postgresql
from tests.support.paths import ROOT

LABELS = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "libsql": "libSQL"}
PAGE = (ROOT / "docs" / "planning.rst").read_text()


def table(label: str) -> list[list[str]]:
    """The rows of the first simple table behind a label, without the head."""
    text = PAGE.split(f".. _{label}:")[1]
    _, head, body, *_ = re.split(r"^=+(?:  =+)+\n", text, flags=re.MULTILINE)
    assert len(head.splitlines()) == 1
    return [re.split(r" {2,}", line) for line in body.splitlines()]


@pytest.mark.parametrize("alias", list(settings.ENGINES), ids=list(settings.ENGINES.values()))
def test_every_obstacle_is_in_the_list_in_its_order(alias: str) -> None:
    engine = engine_for(connections[alias])
    listed = [
        sentence
        for sentence, databases in table("searching-obstacles")
        if databases == "all" or LABELS[engine.name] in databases
    ]
    assert listed == [sentence for sentence, _ in engine.obstacles]


def numbers(*parts: Any) -> str:
    return ", ".join(f"{part:,}" for part in parts)


def test_blocks_of_pages() -> None:
    rows, candidates = zip(*postgresql.LADDER, strict=True)
    most = libsql.SEARCH_L
    assert [[cell.strip() for cell in row] for row in table("searching-pages")] == [
        ["HNSW and IVFFlat", numbers(*rows), numbers(*candidates)],
        ["the same with a filter", "10, then as above", f"{candidates[0]}, then as above"],
        ["half precision, signs, prefixes", numbers(*base.ROWS), "2, 20 or 40 times as many"],
        ["libSQL's graph", numbers(most // libsql.OVERSAMPLE, most), str(most)],
        ["``vec0`` of SQLite", "the last one", "see :ref:`indexes-bytes`"],
    ]


def test_the_first_block_of_a_filter() -> None:
    first, second, *_ = postgresql.ladder(postgresql.DEFAULT_EF_SEARCH, 0, is_filtered=True)
    assert first == (10, postgresql.LADDER[0][1])
    assert second == postgresql.LADDER[0]
    assert base.OVERSAMPLE == {"half": (2, 4), "bit": (40, 100)}
    assert base.OVERSAMPLE_OF_PREFIX == (20, 40)
    assert base.OVERSAMPLE_OF_SHORT_PREFIX == (40, 100)
    given = [(base.oversample_of(n), base.oversample_of(n, recall="high")) for n in (95, 96)]
    assert given == [(40, 100), (20, 40)]
