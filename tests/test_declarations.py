"""numpy's arrays, and other values, in declarations: migrations are written, run and compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import IntegrityError, connections, transaction
from django.db.models import CheckConstraint, FloatField, GeneratedField, Q, Value
from django.test.utils import isolate_apps
from pgvector import Bit, SparseVector

from dorm_vector import L2Distance, declarations, models
from tests.support.paths import ROOT

MODELS = """
import numpy as np
from django.db.models import CheckConstraint, FloatField, GeneratedField, Q, UniqueConstraint, Value
from django.db.models.lookups import LessThan
from pgvector import Bit, Vector
from dorm_vector import HnswIndex, L2Distance, models

A = np.array([1.0, 0.5, 3.0])
F4 = A.astype("f4")


class Thing(models.Model):
    default = models.VectorField(3, default=A)
    single = models.VectorField(3, default=F4)
    numbers = models.VectorField(3, default=[np.float32(1), np.float64(2), 3])
    vector = models.VectorField(3, default=Vector([1, 2, 3]))
    bits = models.BitField(length=3, default=np.array([True, False, True]))
    bit = models.BitField(length=3, default=Bit("101"))
    in_database = models.VectorField(3, db_default=F4)
    value = models.VectorField(3, db_default=Value(A, models.VectorField(3)))
    far = GeneratedField(
        expression=L2Distance("default", A), output_field=FloatField(), db_persist=True
    )
    near = GeneratedField(
        expression=L2Distance("default", Value(F4, models.VectorField(3))),
        output_field=FloatField(),
        db_persist=True,
    )

    class Meta:
        constraints = [
            CheckConstraint(condition=~Q(default=A) | Q(single__in=[A, F4]), name="q"),
            CheckConstraint(condition=LessThan(L2Distance("default", F4), 9.0), name="f"),
            UniqueConstraint(fields=["vector"], condition=Q(default=F4), name="u"),
        ]
        indexes = [HnswIndex(fields=["vector"], name="h", metric="l2", condition=~Q(default=A))]
"""
SETTINGS = """
SECRET_KEY = "x"
USE_TZ = True
INSTALLED_APPS = ["dorm_vector", "things"]
DATABASES = {"default": {"ENGINE": "ENGINE_", "NAME": "db"}}
SILENCED_SYSTEM_CHECKS = ["fields.E010"]
"""


@pytest.mark.parametrize("engine", ["django.db.backends.sqlite3", "dorm_vector.backends.libsql"])
def test_makemigrations(tmp_path: Path, engine: str) -> None:
    app = tmp_path / "things"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "models.py").write_text(MODELS)
    (tmp_path / "project.py").write_text(SETTINGS.replace("ENGINE_", engine))
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project", "PYTHONPATH": paths}

    def manage(*args: str) -> str:
        command = [sys.executable, "-m", "django", *args]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    manage("makemigrations", "things")
    written = (app / "migrations" / "0001_initial.py").read_text()
    assert "np." not in written
    assert "array" not in written
    assert manage("makemigrations", "things", "--check") == "No changes detected in app 'things'\n"
    manage("migrate")
    assert manage("makemigrations", "--check", "--dry-run") == "No changes detected\n"


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize("alias", settings.ENGINES)
@isolate_apps("tests.testapp")
def test_in_the_database(alias: str) -> None:
    array = np.array([0.5, 0.25, -2.0])

    class Declared(models.Model):
        number = models.IntegerField()
        given = models.VectorField(3, default=array)
        filled = models.VectorField(3, db_default=array.astype("f4"))
        distance = GeneratedField(
            expression=L2Distance("given", Value(array, models.VectorField(3))),
            output_field=FloatField(),
            db_persist=True,
        )

        class Meta:
            app_label = "testapp"
            constraints = [CheckConstraint(condition=Q(given=array), name="declared_given")]

    with connections[alias].schema_editor() as editor:
        editor.create_model(Declared)
    try:
        made = Declared.objects.using(alias).create(number=1)
        made.refresh_from_db()
        assert (made.given, made.filled, made.distance) == (array.tolist(), array.tolist(), 0.0)
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            Declared.objects.using(alias).create(number=2, given=[1, 2, 3])
    finally:
        with connections[alias].schema_editor() as editor:
            editor.delete_model(Declared)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([1.5, 2]), [1.5, 2.0]),
        ((np.float32(1.5), [np.int64(2)]), (1.5, [2])),
        (Bit("101"), "101"),
        (SparseVector({0: 1.5}, 3), "{1:1.5}/3"),
        ({np.int64(0): np.float32(1.5)}, {0: 1.5}),
        (np.ma.array([1.0, 2.0], mask=[True, False]), [None, 2.0]),
        ("[1,2]", "[1,2]"),
        (None, None),
        (dict, dict),
    ],
    ids=lambda part: str(part)[:20],
)
def test_plain(given: Any, expected: Any) -> None:
    found = declarations.plain(given)
    assert (found, type(found)) == (expected, type(expected))
