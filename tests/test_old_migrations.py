"""Migrations that were written before files were moved: they run, and nothing seems changed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import IntegrityError, connections
from django.db.migrations.writer import MigrationWriter
from django.db.models import Expression, F, Func, Q
from django.test import override_settings

import dorm_vector
from dorm_vector import models, nearest
from dorm_vector.testing import explain_nearest
from tests.support.planner import forced

ALIASES = list(django_settings.ENGINES)
SILENCED = ["dorm_vector.I101", "fields.E010"]


@pytest.fixture(params=ALIASES, ids=list(django_settings.ENGINES.values()))
def archive(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """An alias whose database has the app's first tables, with rows, at an old migration."""
    alias = request.param
    installed = [*django_settings.INSTALLED_APPS, "tests.archive"]
    changes: dict[str, Any] = {
        "DATABASE_ROUTERS": [],
        "SILENCED_SYSTEM_CHECKS": SILENCED,
    }
    with override_settings(INSTALLED_APPS=installed, **changes):
        migrate(alias)
        yield alias
        migrate(alias, "0001")
        # Other tables need the extension.
        call_command("migrate", "archive", "zero", database=alias, fake=True, verbosity=0)


def migrate(alias: str, *to: str) -> None:
    call_command("migrate", "archive", *to, database=alias, verbosity=0, skip_checks=True)


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestProject:
    def test_nothing_changed(self, archive: str) -> None:
        call_command("makemigrations", "archive", check=True, dry_run=True, stdout=StringIO())

    def test_rows_and_searches(self, archive: str, graph: None) -> None:
        document = apps.get_model("archive", "Document")
        rows = document.objects.using(archive)
        vectors = np.random.default_rng(5).normal(size=(80, 3)).astype("f4")
        for vector in vectors:
            rows.create(embedding=vector, half=[1, 2, 3], bits="1100110011", other=vector[::-1])
        row = rows.get(embedding=vectors[3])
        assert row.length == pytest.approx(np.linalg.norm(vectors[3]), rel=1e-5)
        assert row.far == pytest.approx(np.linalg.norm(vectors[3] - [1, 0, 0]), rel=1e-5)
        assert row.inner == pytest.approx(float(vectors[3] @ [1, 2, 3]), abs=1e-5)
        assert row.product == -row.inner
        assert row.differing == 5
        assert row.count == 3
        assert row.head == vectors[3][:2].tolist()
        assert row.both == [*vectors[3].tolist(), *vectors[3][::-1].tolist()]
        with forced(archive):
            for field, metric in (("embedding", "cosine"), ("other", "l2")):
                found = nearest(rows, field, vectors[3], k=5, metric=metric)
                assert explain_nearest(found).index is not None
                exact = nearest(rows, field, vectors[3], k=5, metric=metric, exact=True)
                # The lists of an IVFFlat index that was built without rows have random centers.
                assert len(found) == 5
                assert set(found) & set(exact)

    def test_constraints_hold(self, archive: str) -> None:
        document = apps.get_model("archive", "Document")
        with pytest.raises(IntegrityError, match="not_zero"):
            document.objects.using(archive).create(embedding=[0, 0, 0])

    def test_defaults_of_the_database(self, archive: str) -> None:
        document = apps.get_model("archive", "Document")
        note = apps.get_model("archive", "Note")
        row = document.objects.using(archive).create(embedding=[1, 2, 3])
        note.objects.using(archive).create(document=row)
        assert note.objects.using(archive).get().vector == [0.0, 0.0, 0.0, 1.0]

    def test_back_and_forth(self, archive: str) -> None:
        document = apps.get_model("archive", "Document")
        document.objects.using(archive).create(embedding=[1, 2, 3])
        for to in ("0002", "0003", "0002"):
            migrate(archive, to)
        with connections[archive].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM archive_document")
            assert cursor.fetchone() == (1,)
        migrate(archive)
        assert document.objects.using(archive).get().summary is None


# Where each thing is found that migrations name: for ever.
EXAMPLES: list[Expression] = [
    dorm_vector.BinaryQuantize("v"),
    dorm_vector.CosineDistance("v", [1, 2, 3]),
    dorm_vector.CosineSimilarity("v", [1, 2, 3]),
    dorm_vector.HammingDistance("v", "101"),
    dorm_vector.InnerProduct("v", F("w")),
    dorm_vector.JaccardDistance("v", b"\xa0"),
    dorm_vector.L1Distance("v", np.array([1, 2, 3])),
    dorm_vector.L2Distance("v", "w", precision="half"),
    dorm_vector.MaxInnerProduct([1, 2, 3], "v"),
    dorm_vector.Normalize("v"),
    dorm_vector.Subvector("v", 1, 2),
    dorm_vector.VectorAdd("v", {0: 1.0}),
    dorm_vector.VectorAvg("v", filter=Q(w=None)),
    dorm_vector.VectorConcat("v", [True, False]),
    dorm_vector.VectorDims("v"),
    dorm_vector.VectorMultiply("v", "[1,2,3]"),
    dorm_vector.VectorNorm(dorm_vector.Normalize("v")),
    dorm_vector.VectorSubtract("v", "w"),
    dorm_vector.VectorSum("v"),
    dorm_vector.VectorToJSON("v"),
]
OTHERS = {
    "dorm_vector.fields.VectorField": models.VectorField(3).deconstruct()[1],
    "dorm_vector.fields.HalfVectorField": models.HalfVectorField(3).deconstruct()[1],
    "dorm_vector.fields.BitField": models.BitField(3).deconstruct()[1],
    "dorm_vector.fields.SparseVectorField": models.SparseVectorField(3).deconstruct()[1],
    "dorm_vector.indexes.HnswIndex": dorm_vector.HnswIndex(fields=["v"], name="i").deconstruct()[0],
    "dorm_vector.indexes.IvfflatIndex": dorm_vector.IvfflatIndex(
        fields=["v"], name="i", lists=1
    ).deconstruct()[0],
    "dorm_vector.indexes.VectorIndex": dorm_vector.VectorIndex(
        fields=["v"], name="i"
    ).deconstruct()[0],
}


def test_all_expressions_are_looked_at() -> None:
    public = {
        name
        for name in dorm_vector.__all__
        if inspect.isclass(found := getattr(dorm_vector, name)) and issubclass(found, Func)
    }
    assert public == {type(example).__name__ for example in EXAMPLES}


@pytest.mark.parametrize("expression", EXAMPLES, ids=lambda each: type(each).__name__)
def test_expressions_keep_their_path(expression: Any) -> None:
    path, args, kwargs = expression.deconstruct()
    name = type(expression).__name__
    assert path == f"dorm_vector.functions.{name}"
    assert getattr(import_module("dorm_vector.functions"), name) is type(expression)
    assert type(expression)(*args, **kwargs) == expression
    written, imports = MigrationWriter.serialize(expression)
    assert written.startswith(f"dorm_vector.functions.{name}(")
    namespace: dict[str, Any] = {}
    exec("\n".join(imports), namespace)
    assert eval(written, namespace) == expression


@pytest.mark.parametrize("path", OTHERS)
def test_others_keep_their_path(path: str) -> None:
    assert OTHERS[path] == path


class ProjectNorm(dorm_vector.VectorNorm):
    """A function of a project's own."""


def test_a_projects_own_have_theirs() -> None:
    assert ProjectNorm("v").deconstruct()[0] == "tests.test_old_migrations.ProjectNorm"
