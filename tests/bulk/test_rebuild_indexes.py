"""bulk_copy(rebuild_indexes=True)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from dorm_vector import bulk_copy, nearest
from dorm_vector.testing import explain_nearest
from tests.support.bulk import refused
from tests.support.planner import forced
from tests.testapp.models import Document, Indexed, Passage, PassageProxy, Portable

on_postgresql = pytest.mark.django_db(databases="__all__")


@on_postgresql
class TestRebuildIndexes:
    def definitions(self, table: str) -> dict[str, str]:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", [table]
            )
            return dict(cursor.fetchall())

    def shown(self, name: str) -> str:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute(f"SHOW {name}")
            return str(cursor.fetchone()[0])

    def rows(self, count: int = 300) -> Iterator[Indexed]:
        vectors = np.random.default_rng(3).normal(size=(count, 8))
        return (Indexed(category=n, embedding=vector) for n, vector in enumerate(vectors))

    def test_indexes_are_gone_and_come_back(self) -> None:
        before = self.definitions("testapp_indexed")
        assert len(before) == 4
        meanwhile = []

        def rows() -> Iterator[Indexed]:
            meanwhile.extend(self.definitions("testapp_indexed"))
            yield from self.rows()

        manager = Indexed.objects.using("postgresql")
        with warnings.catch_warnings():  # IVFFlat's notice of few rows is none of Python's
            assert bulk_copy(manager, rows(), rebuild_indexes=True) == 300
        assert meanwhile == ["testapp_indexed_pkey"]
        assert self.definitions("testapp_indexed") == before
        query = manager.first().embedding
        with forced("postgresql"):
            search = nearest(manager, "embedding", query, k=5, metric="l2")
            assert explain_nearest(search).index == "indexed_l2"
            assert len(search) == 5

    def test_settings(self) -> None:
        settings = ("maintenance_work_mem", "max_parallel_maintenance_workers")
        before = [self.shown(name) for name in settings]
        with CaptureQueriesContext(connections["postgresql"]) as captured:
            bulk_copy(
                Indexed.objects.using("postgresql"),
                self.rows(),
                rebuild_indexes=True,
                maintenance_work_mem="77MB",
                workers=0,
            )
        sent = [query["sql"] for query in captured]
        first = next(place for place, sql in enumerate(sent) if sql.startswith("CREATE INDEX"))
        assert "SET LOCAL maintenance_work_mem = '77MB'" in sent[:first]
        assert "SET LOCAL max_parallel_maintenance_workers = '0'" in sent[:first]
        assert [self.shown(name) for name in settings] == before
        assert before[0] != "77MB"

    def test_after_an_error(self) -> None:
        before = self.definitions("testapp_indexed")
        rows = [Indexed(category=1, embedding=[1])]
        with pytest.raises(ValidationError), transaction.atomic("postgresql"):
            bulk_copy(Indexed.objects.using("postgresql"), rows, rebuild_indexes=True)
        assert self.definitions("testapp_indexed") == before

    @pytest.mark.parametrize("model", [Passage, PassageProxy])
    def test_with_foreign_keys_that_are_checked_at_the_end(self, model: Any) -> None:
        document = Document.objects.using("postgresql").create(embedding=[1, 2, 3])
        before = self.definitions("testapp_passage")
        meanwhile = []

        def rows() -> Iterator[Any]:
            meanwhile.extend(self.definitions("testapp_passage"))
            yield from (model(document=document, embedding=[n, 1, 1]) for n in range(50))

        bulk_copy(model.objects.using("postgresql"), rows(), rebuild_indexes=True)
        assert "testapp_passage_embedding" not in meanwhile
        assert self.definitions("testapp_passage") == before

    def test_index_that_is_not_there(self) -> None:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("DROP INDEX indexed_ip")
        before = self.definitions("testapp_indexed")
        bulk_copy(Indexed.objects.using("postgresql"), self.rows(), rebuild_indexes=True)
        assert self.definitions("testapp_indexed") == before

    def test_other_databases_keep_theirs(self, alias: str) -> None:
        rows = [Portable(category=n, embedding=[n] * 8) for n in range(1, 20)]
        manager = Portable.objects.using(alias)
        bulk_copy(manager, rows, rebuild_indexes=True, maintenance_work_mem="64MB", workers=1)
        found = nearest(manager, "embedding", [3] * 8, k=3, metric="l2")
        assert {row.category for row in found} == {2, 3, 4}

    def test_batches(self, alias: str) -> None:
        with refused() as caught:
            bulk_copy(Portable.objects.using(alias), [], rebuild_indexes=True, batch_size=10)
        assert str(caught.value) == (
            "bulk_copy() rebuilds indexes in one transaction: leave out batch_size."
        )

    @pytest.mark.parametrize("option", [{"workers": 2}, {"maintenance_work_mem": "1GB"}])
    def test_settings_alone(self, alias: str, option: dict[str, Any]) -> None:
        with refused() as caught:
            bulk_copy(Portable.objects.using(alias), [], **option)
        assert str(caught.value) == (
            "bulk_copy() takes maintenance_work_mem and workers only with rebuild_indexes=True."
        )
