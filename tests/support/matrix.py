"""Which kinds of vectors each engine has columns for: tests are parametrized by these pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from dorm_vector.engines import engine_for

__all__ = ["KINDS", "kinds", "kinds_on_engines", "on_engines", "only"]

KINDS = ["vector", "halfvec", "bit", "sparsevec"]

kinds = pytest.mark.parametrize("kind", KINDS)


def only(*engines: str, fixture: str = "alias") -> pytest.MarkDecorator:
    """A test of what these engines alone have; the fixture is that which takes an alias."""
    aliases = {alias: engine for alias, engine in settings.ENGINES.items() if engine in engines}
    ids = list(aliases.values())
    return pytest.mark.parametrize(fixture, list(aliases), indirect=True, ids=ids)


def on_engines(names: str, rows: Iterable[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """Rows that begin with a kind, on every engine that has columns of that kind."""
    rows = list(rows)
    cells = [
        pytest.param(alias, *row, id="-".join([engine, row[0], *([str(place)] * (len(row) > 1))]))
        for alias, engine in settings.ENGINES.items()
        for place, row in enumerate(rows)
        if row[0] in engine_for(connections[alias]).column_types
    ]
    return pytest.mark.parametrize(f"alias,{names}", cells, indirect=["alias"])


def kinds_on_engines(*chosen: str) -> pytest.MarkDecorator:
    """Each kind, or those chosen, on every engine that has columns of it."""
    return on_engines("kind", [(kind,) for kind in chosen or KINDS])
