"""The SQLite engine: loading sqlite-vec in three tiers, and what SQL it writes."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured

from dorm_vector import L2Distance, engine_for, load_sqlite_vec_extension
from dorm_vector.engines.sqlite import extension as sqlite_vec
from dorm_vector.engines.sqlite import functions as sqlite_functions
from tests.support import oracle
from tests.support.processes import run
from tests.support.sqlite_tier import QUERY, VECTORS
from tests.testapp.models import Item

CAN_LOAD = """
import sqlite3
sqlite3.connect(":memory:").enable_load_extension(True)
import django.db.models
"""


def interpreters() -> Iterator[str]:
    yield sys.executable
    yield from filter(None, map(shutil.which, ("/usr/bin/python3", "python3", "python")))


def can_load(python: str) -> bool:
    return run(python, "-W", "ignore", "-c", CAN_LOAD).returncode == 0


def run_tier(tier: str | None, python: str = sys.executable) -> dict[str, Any]:
    """The report of ``tests.support.sqlite_tier``."""
    result = run(python, "-m", "tests.support.sqlite_tier", str(tier))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def expected(metric: str) -> list[str | None]:
    return [
        None if vector is None else str(round(oracle.DISTANCES[metric](vector, QUERY), 5))
        for vector in VECTORS
    ]


class TestTiers:
    def check(self, report: dict[str, Any], tier: str) -> None:
        assert report["tier"] == tier
        assert report["loading"] is False
        for metric, found in zip(("l2", "cosine", "ip", "l1"), report["found"], strict=True):
            assert [value and float(value) for value in found] == [
                value and pytest.approx(float(value), abs=2e-5, nan_ok=True)
                for value in expected(metric)
            ]

    def test_extension(self) -> None:
        python = next((python for python in interpreters() if can_load(python)), None)
        if python is None:
            pytest.skip("no Python that runs this Django can load SQLite extensions")
        for tier in ("auto", "extension"):
            report = run_tier(tier, python)
            self.check(report, "extension")
            assert (report["warnings"], report["checks"]) == ([], [])

    def test_native(self) -> None:
        report = run_tier("native")
        self.check(report, "native")
        assert (report["warnings"], report["checks"]) == ([], [])
        assert report["details"] == ["dorm_vector.I001"]

    def test_python(self) -> None:
        report = run_tier("python")
        self.check(report, "python")
        assert (report["warnings"], report["checks"]) == ([], ["dorm_vector.W001"])

    def test_auto_is_native_or_better_here(self) -> None:
        report = run_tier("auto")
        self.check(report, report["tier"])
        assert report["tier"] in ("extension", "native")
        assert report["warnings"] == []


@pytest.fixture
def raw() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


L1 = "SELECT vec_distance_l1(X'00000000', X'0000803F')"


class TestLoading:
    @pytest.mark.parametrize("tier", ["auto", "native", "python"])
    def test_raw_connections(self, raw: sqlite3.Connection, tier: str) -> None:
        for _ in range(2):
            load_sqlite_vec_extension(raw, tier=tier)
            assert raw.execute(L1).fetchone() == (1.0,)

    def test_nothing_stays_registered_in_the_process(self, raw: sqlite3.Connection) -> None:
        load_sqlite_vec_extension(raw, tier="native")
        other = sqlite3.connect(":memory:")
        with pytest.raises(sqlite3.OperationalError, match="no such function"):
            other.execute("SELECT vec_version()")
        other.close()

    def test_subclasses_and_files(self, tmp_path: Path) -> None:
        class Connection(sqlite3.Connection):
            extra = 1

        raw = sqlite3.connect(tmp_path / "db", factory=Connection)
        assert load_sqlite_vec_extension(raw, tier="native") == "native"
        assert raw.execute("SELECT vec_version()").fetchone()
        raw.close()

    @pytest.mark.parametrize("tier", ["native", "python"])
    def test_closed_connections(self, tier: str) -> None:
        raw = sqlite3.connect(":memory:")
        raw.close()
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            load_sqlite_vec_extension(raw, tier=tier)

    def test_many_threads(self) -> None:
        found = []

        def work() -> None:
            for _ in range(20):
                raw = sqlite3.connect(":memory:")
                load_sqlite_vec_extension(raw)
                found.append(raw.execute(L1).fetchone())
                raw.close()

        sqlite_vec._native_loader.cache_clear()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [(1.0,)] * 160

    def test_a_fallback_to_python_warns(
        self, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sqlite_vec", None)
        sqlite_vec._native_loader.cache_clear()
        with pytest.warns(RuntimeWarning) as caught:
            assert load_sqlite_vec_extension(raw) == "python"
        sqlite_vec._native_loader.cache_clear()
        (warning,) = caught
        reason = "the package sqlite-vec is not installed; pip install 'dorm-vector[sqlite]'"
        assert str(warning.message) == (
            "sqlite-vec cannot be loaded, so slow Python functions replace it "
            f"(extension: {reason}; native: {reason})."
        )

    def test_a_named_tier_that_cannot_be_had(
        self, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sqlite_vec", None)
        with pytest.raises(ImproperlyConfigured) as caught:
            load_sqlite_vec_extension(raw, tier="extension")
        assert str(caught.value) == (
            "sqlite-vec cannot be loaded (extension: the package sqlite-vec is not installed; "
            "pip install 'dorm-vector[sqlite]')."
        )

    def test_a_file_that_is_no_extension(
        self, raw: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        broken = tmp_path / "vec0"
        broken.with_suffix(".so").write_text("not a library")
        monkeypatch.setattr("sqlite_vec.loadable_path", lambda: str(broken))
        sqlite_vec._native_loader.cache_clear()
        with pytest.warns(RuntimeWarning, match="native: .*vec0"):
            assert load_sqlite_vec_extension(raw) == "python"
        sqlite_vec._native_loader.cache_clear()


@pytest.mark.django_db(transaction=True)
class TestConnections:
    def test_threads_and_reopened_connections(self, open_database: Any, tmp_path: Path) -> None:
        scratch = open_database("default", NAME=str(tmp_path / "db"))
        for _ in range(2):
            scratch.connect()
            assert scratch.connection.execute(L1).fetchone() == (1.0,)
            scratch.close()
        found = []

        def work() -> None:
            wrapper = scratch.copy()
            wrapper.connect()
            found.append(wrapper.connection.execute(L1).fetchone())
            wrapper.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [(1.0,)]

    def test_switched_off(self, settings: Any, open_database: Any, tmp_path: Path) -> None:
        settings.DORM_VECTOR = {"SQLITE_VEC": None}
        scratch = open_database("default", NAME=str(tmp_path / "db"))
        scratch.connect()
        assert engine_for(scratch).tier is None
        with pytest.raises(sqlite3.OperationalError, match="no such function"):
            scratch.connection.execute(L1)

    def test_unknown_tier(self, settings: Any, open_database: Any, tmp_path: Path) -> None:
        settings.DORM_VECTOR = {"SQLITE_VEC": "magic"}
        scratch = open_database("default", NAME=str(tmp_path / "db"))
        with pytest.raises(ImproperlyConfigured) as caught:
            scratch.connect()
        assert str(caught.value) == (
            "DORM_VECTOR['SQLITE_VEC'] is 'magic'; "
            "use one of 'auto', 'extension', 'native', 'python', None."
        )

    def test_insert_and_vacuum_without_the_extension(
        self, settings: Any, open_database: Any, tmp_path: Path
    ) -> None:
        """The CHECK needs no extension: other programs may write to the file."""
        scratch = open_database("default", NAME=str(tmp_path / "db"))
        with scratch.schema_editor() as editor:
            editor.create_model(Item)
        scratch.close()
        raw = sqlite3.connect(tmp_path / "db")
        row = ("one", 0, np.ones(3, "<f4").tobytes())
        insert = "INSERT INTO testapp_item (name, category, embedding) VALUES (?, ?, ?)"
        raw.execute(insert, row)
        with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
            raw.execute(insert, ("two", 0, b"123"))
        raw.commit()
        raw.execute("VACUUM")
        raw.close()
        assert Item.objects.using("scratch").get().embedding == [1, 1, 1]


@pytest.mark.django_db
class TestSQL:
    def sql(self, queryset: Any) -> tuple[str, Any]:
        return queryset.query.get_compiler("default").as_sql()

    def test_a_literal_is_not_guarded_against_null(self) -> None:
        sql, params = self.sql(Item.objects.values(d=L2Distance("embedding", [1, 2, 3])))
        assert sql == (
            'SELECT CASE WHEN "testapp_item"."embedding" IS NOT NULL THEN '
            'COALESCE(vec_distance_l2("testapp_item"."embedding", %s), 9e999) END AS "d" '
            'FROM "testapp_item"'
        )
        assert params == (np.array([1, 2, 3], "<f4").tobytes(),)

    def test_columns_are_read_as_they_are(self) -> None:
        sql, _ = self.sql(Item.objects.values("embedding"))
        assert sql == 'SELECT "testapp_item"."embedding" AS "embedding" FROM "testapp_item"'

    def test_the_query_plan_is_a_plain_scan(self) -> None:
        plan = Item.objects.order_by(L2Distance("embedding", [1, 2, 3]))[:3].explain()
        assert "SCAN testapp_item" in plan


class TestPythonFunctions:
    """Both kinds, for the Pythons with numpy and those without."""

    @pytest.fixture(params=["plain", "numpy"])
    def functions(self, request: pytest.FixtureRequest) -> Any:
        return sqlite_functions.PLAIN if request.param == "plain" else sqlite_functions.functions()

    @pytest.mark.parametrize("metric", ["l2", "l1", "cosine"])
    @pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
    def test_against_numpy(self, functions: Any, metric: str, scale: float) -> None:
        a, b = (np.random.default_rng(3).normal(size=(2, 50)) * scale).astype("<f4")
        found = functions[f"vec_distance_{metric}"](a.tobytes(), b.tobytes())
        assert type(found) is float
        assert found == pytest.approx(oracle.DISTANCES[metric](a, b), rel=1e-12)

    def test_undefined(self, functions: Any) -> None:
        zero = np.zeros(3, "<f4").tobytes()
        assert functions["vec_distance_cosine"](zero, np.ones(3, "<f4").tobytes()) is None

    def test_without_numpy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "numpy", None)
        assert sqlite_functions.functions() is sqlite_functions.PLAIN

    def test_lengths_differ(self, functions: Any) -> None:
        for function in functions.values():
            with pytest.raises(ValueError):  # noqa: PT011 - several libraries, several words
                function(np.ones(3, "<f4").tobytes(), np.ones(2, "<f4").tobytes())
