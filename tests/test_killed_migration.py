"""ChangeVectorDimensions in a process that is killed: the table is as before, or as after."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dorm_vector import nearest
from tests.support.killed_migration import articles, change
from tests.support.migrating import Project
from tests.support.paths import ROOT

ROWS = int(os.environ.get("DORM_VECTOR_TEST_ROWS", "2000"))
# Where few rows are there, a few points on the way are enough.
GROWTH = 4.0 if ROWS <= 2000 else 1.6
KEYS = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")


@pytest.fixture
def project(empty_database: Any) -> Project:
    project = Project(articles())
    model = project.model()
    vectors = np.random.default_rng(0).normal(size=(ROWS, 8)).astype("f4")
    project.rows().bulk_create([model(embedding=vector.tolist()) for vector in vectors], 500)
    return project


def sizes(project: Project) -> dict[int, int]:
    """The number of rows by the number of their vectors' components, 0 for NULL."""
    found: dict[int, int] = {}
    for vector in project.rows().values_list("embedding", flat=True):
        size = len(vector or ())
        found[size] = found.get(size, 0) + 1
    return found


def is_whole(project: Project, size: int) -> bool:
    """Whether the index and the constraint are of the column as it is."""
    rows = project.rows()
    row = rows.create(embedding=[50.0] * size)
    (found,) = nearest(rows, "embedding", [50.0] * size, k=1)
    rows.filter(pk=row.pk).update(title="other")
    fresh = rows.filter(pk=row.pk, embedding=None).exists()
    rows.filter(pk=row.pk).delete()
    return found.pk == row.pk and fresh


def is_changed(project: Project) -> bool:
    """Whether the column is that of the operation, as the database has it."""
    project.execute("SELECT count(*) FROM shop_article")  # waits for who was killed
    if project.engine == "postgresql":
        sql = (
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attname = 'embedding' AND attrelid = 'shop_article'::regclass"
        )
    else:
        sql = "SELECT sql FROM sqlite_master WHERE name = 'shop_article'"
    ((made,),) = project.execute(sql)
    return bool(re.search(r"halfvec\(6\)|\*6\b|F16_BLOB\(6\)", made))


def finishes(project: Project, existing: str, direction: str, seconds: float) -> bool:
    """Run the operation in a process that is killed after some seconds."""
    settings = {key: str(project.connection.settings_dict[key]) for key in KEYS}
    module = "tests.support.killed_migration"
    project.connection.close()
    with subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(settings), existing, direction],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            assert process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            return False
    return True


@pytest.mark.parametrize(("existing", "size"), [("null", 0), ("truncate", 6)])
def test_killed(project: Project, existing: str, size: int) -> None:
    operation = change(existing)
    for direction, before, after in (
        ("forwards", {8: ROWS}, {size: ROWS}),
        ("backwards", {size: ROWS}, {0: ROWS}),
    ):
        seconds, done = 0.02, False
        while not done:
            done = finishes(project, existing, direction, seconds)
            seconds *= GROWTH
            if is_changed(project) == (direction == "forwards"):
                break
            assert not done
            assert sizes(project) == before
            assert is_whole(project, 8 if direction == "forwards" else 6)
        if direction == "forwards":
            state = project.state.clone()
            operation.state_forwards("shop", state)
            project.states.append(state)
        else:
            project.states.pop()
        assert sizes(project) == after
        assert is_whole(project, 6 if direction == "forwards" else 8)
