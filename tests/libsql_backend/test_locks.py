"""Files that several connections and processes write to."""

from __future__ import annotations

import operator
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db import utils as django_errors

from dorm_vector.backends.libsql import dbapi
from tests.support.libsql_backend import another, create, names
from tests.support.paths import ROOT


class TestLocks:
    HELD = 0.5

    def hold(self, path: Path, locked: threading.Event) -> None:
        with another(path) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("INSERT INTO libsql_backend_author (name) VALUES ('holder')")
            locked.set()
            time.sleep(self.HELD)
            cursor.execute("COMMIT")

    def test_a_writer_waits_without_the_gil(self, database: Any, tmp_path: Path) -> None:
        locked, done = threading.Event(), threading.Event()
        ticks: list[float] = []

        def tick() -> None:
            while not done.wait(0.005):
                ticks.append(time.monotonic())

        threads = [
            threading.Thread(target=self.hold, args=(tmp_path / "db", locked)),
            threading.Thread(target=tick),
        ]
        for thread in threads:
            thread.start()
        locked.wait()
        start = time.monotonic()
        create("writer")
        waited = time.monotonic() - start
        done.set()
        for thread in threads:
            thread.join()
        assert names() == ["holder", "writer"]
        assert self.HELD * 0.8 < waited < 5
        during = [moment for moment in ticks if moment > start]
        pauses = list(map(operator.sub, during[1:], during[:-1]))
        assert len(pauses) > 10
        assert max(pauses) < self.HELD / 2

    @pytest.mark.parametrize("timeout", [0, 0.2])
    def test_the_timeout(self, database: Any, tmp_path: Path, timeout: float) -> None:
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        holder.start()
        locked.wait()
        with another(tmp_path / "db", timeout=timeout) as other, other.cursor() as cursor:
            start = time.monotonic()
            with pytest.raises(django_errors.OperationalError, match=r"^database is locked$"):
                cursor.execute("INSERT INTO libsql_backend_author (name) VALUES ('late')")
            assert timeout * 0.7 < time.monotonic() - start < self.HELD
        holder.join()
        assert names() == ["holder"]

    def test_executemany_waits(self, database: Any, tmp_path: Path) -> None:
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        holder.start()
        locked.wait()
        with database.cursor() as cursor:
            sql = "INSERT INTO libsql_backend_author (name) VALUES (%s)"
            cursor.executemany(sql, [["a"], ["b"]])
        holder.join()
        assert names() == ["a", "b", "holder"]

    def test_a_transaction_begins_late(self, database: Any, tmp_path: Path) -> None:
        """The first statement of a transaction waits as well."""
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        holder.start()
        locked.wait()
        with transaction.atomic("scratch"):
            create("a")
        holder.join()
        assert names() == ["a", "holder"]

    def test_a_transaction_that_has_read_does_not_wait(self, database: Any, tmp_path: Path) -> None:
        """Its snapshot is out of date, however long it waits."""
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        with transaction.atomic("scratch"):
            assert names() == []
            holder.start()
            locked.wait()
            start = time.monotonic()
            with pytest.raises(django_errors.OperationalError, match=r"^database is locked$"):
                create("a")
            assert time.monotonic() - start < self.HELD / 2
            transaction.set_rollback(True, using="scratch")
        holder.join()
        assert names() == ["holder"]

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_a_savepoint_after_reading_does_not_wait(self, tmp_path: Path, journal: str) -> None:
        path = str(tmp_path / "db")
        with closing(dbapi.connect(path)) as first, closing(dbapi.connect(path)) as second:
            first.execute(f"PRAGMA journal_mode = {journal}")
            first.execute("CREATE TABLE t (v)")
            for each in (first, second):
                each.execute("BEGIN")
                each.execute("SELECT * FROM t").fetchall()
                each.execute("SAVEPOINT s")
            first.execute("INSERT INTO t VALUES (1)")
            start = time.monotonic()
            with pytest.raises(dbapi.OperationalError, match=r"^database is locked$"):
                second.execute("INSERT INTO t VALUES (2)")
            assert time.monotonic() - start < 1
            second.rollback()
            first.commit()
            assert first.execute("SELECT v FROM t").fetchall() == [(1,)]

    def test_two_processes(self, raw: dbapi.Connection, tmp_path: Path) -> None:
        path = str(tmp_path / "db")
        with closing(dbapi.connect(path)) as connection:
            connection.execute("CREATE TABLE written (label)")
            processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.support.libsql_process", path, label, "100"],
                    cwd=ROOT,
                )
                for label in "ab"
            ]
            assert [process.wait(60) for process in processes] == [0, 0]
            rows = connection.execute("SELECT label, count(*) FROM written GROUP BY 1 ORDER BY 1")
            assert rows.fetchall() == [("a", 100), ("b", 100)]

    def test_stock_sqlite_reads_the_file(self, database: Any, tmp_path: Path) -> None:
        create("a")
        with closing(sqlite3.connect(tmp_path / "db")) as stock:
            assert stock.execute("SELECT name FROM libsql_backend_author").fetchall() == [("a",)]
            assert stock.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
