"""Cursors as PEP 249 describes them, and as Django uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models import F

from dorm_vector.backends.libsql import dbapi
from tests.support.libsql_backend import Sample, one


class TestCursors:
    @pytest.fixture
    def many(self, raw: dbapi.Connection) -> dbapi.Connection:
        raw.executemany("INSERT INTO t VALUES (?)", ([n] for n in range(1050)))
        return raw

    def test_fetching(self, many: dbapi.Connection) -> None:
        rows = [(n,) for n in range(1050)]
        sql = "SELECT v FROM t ORDER BY v"
        assert many.execute(sql).fetchall() == rows
        assert list(many.execute(sql)) == rows
        cursor = many.execute(sql)
        assert [cursor.fetchone(), cursor.fetchone()] == rows[:2]
        assert (cursor.fetchmany(), cursor.fetchmany(300)) == (rows[2:3], rows[3:303])
        assert cursor.fetchall() == rows[303:]
        assert (cursor.fetchone(), cursor.fetchmany(5), cursor.fetchall()) == (None, [], [])

    @pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 201])
    def test_any_number_of_rows(self, many: dbapi.Connection, count: int) -> None:
        sql = "SELECT v FROM t ORDER BY v LIMIT ?"
        assert many.execute(sql, [count]).fetchall() == [(n,) for n in range(count)]
        cursor = many.execute(sql, [count])
        found = list(iter(cursor.fetchone, None))
        assert (found, cursor.fetchone()) == ([(n,) for n in range(count)], None)

    def test_two_at_a_time(self, many: dbapi.Connection) -> None:
        up, down = (many.execute(f"SELECT v FROM t ORDER BY v {way}") for way in ("ASC", "DESC"))
        pairs = [(a, b) for (a,), (b,) in zip(up, down, strict=True)]
        assert pairs == [(n, 1049 - n) for n in range(1050)]

    def test_one_is_used_again(self, many: dbapi.Connection) -> None:
        cursor = many.execute("SELECT v FROM t ORDER BY v")
        cursor.fetchmany(250)
        assert cursor.execute("SELECT 'other'").fetchall() == [("other",)]
        with pytest.raises(dbapi.OperationalError):
            cursor.execute("SELEC")
        assert cursor.fetchall() == []

    def test_a_table_is_dropped_under_one_that_was_closed(self, many: dbapi.Connection) -> None:
        cursor = many.execute("SELECT v FROM t")
        cursor.fetchmany(150)
        cursor.close()
        many.execute("DROP TABLE t")
        assert many.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)

    def test_a_table_is_dropped_after_a_few_rows_were_read(self, raw: dbapi.Connection) -> None:
        raw.executemany("INSERT INTO t VALUES (?)", [[1], [2]])
        cursor = raw.execute("SELECT v FROM t")
        assert cursor.fetchone() == (1,)
        raw.execute("DROP TABLE t")
        assert cursor.fetchone() == (2,)

    def test_description(self, raw: dbapi.Connection) -> None:
        cursor = raw.execute('SELECT 1 AS a, 2 AS "b c", v FROM t')
        assert [column[0] for column in cursor.description or ()] == ["a", "b c", "v"]
        assert {len(column) for column in cursor.description or ()} == {7}
        assert raw.execute("INSERT INTO t VALUES (1)").description is None

    def test_rowcount(self, raw: dbapi.Connection) -> None:
        assert raw.execute("INSERT INTO t VALUES (1), (2), (3)").rowcount == 3
        assert raw.execute("UPDATE t SET v = v + 1 WHERE v > 1").rowcount == 2
        assert raw.execute("UPDATE t SET v = 9 WHERE v = 77").rowcount == 0
        assert raw.execute("INSERT INTO t VALUES (7), (8) RETURNING v").rowcount == 2
        assert raw.execute("DELETE FROM t").rowcount == 5
        assert raw.execute("SELECT 1").rowcount == -1
        assert (
            raw.executemany("INSERT INTO t VALUES (?)", [[n] for n in range(2500)]).rowcount == 2500
        )

    def test_lastrowid(self, raw: dbapi.Connection) -> None:
        assert raw.execute("INSERT INTO t (rowid, v) VALUES (41, 1)").lastrowid == 41
        cursor = raw.execute("INSERT INTO t VALUES (1) RETURNING v")
        assert cursor.lastrowid == 42

    def test_returning_does_everything_at_once(self, raw: dbapi.Connection) -> None:
        raw.execute("INSERT INTO t VALUES (1), (2), (3) RETURNING v").fetchone()
        assert one(raw, "SELECT count(*) FROM t") == 3

    def test_executemany_reads_rows_as_they_are_needed(self, raw: dbapi.Connection) -> None:
        def rows() -> Iterator[list[int]]:
            for n in range(3000):
                if n == 2500:
                    # What came before is there already.
                    assert one(raw, "SELECT count(*) FROM t") >= 1000
                yield [n]

        raw.executemany("INSERT INTO t VALUES (?)", rows())
        assert one(raw, "SELECT count(*) FROM t") == 3000
        assert raw.executemany("INSERT INTO t VALUES (?)", []).rowcount == 0

    def test_querysets(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(group=n) for n in range(777))
        for chunk in (1, 100, 2000):
            found = samples.order_by("group").values_list("group", flat=True).iterator(chunk)
            assert list(found) == list(range(777))

    def test_writing_while_iterating(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(group=n) for n in range(450))
        for sample in samples.order_by("pk").iterator(chunk_size=50):
            samples.filter(pk=sample.pk).update(big=sample.group)
        assert samples.filter(big=F("group")).count() == 450

    def test_wrappers(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT %s UNION ALL SELECT 2", [1])
            assert list(cursor) == [(1,), (2,)]
            cursor.executemany("INSERT INTO libsql_backend_author (name) VALUES (%s)", [])
            cursor.executemany(
                "INSERT INTO libsql_backend_author (name) VALUES (%(name)s)",
                iter([{"name": "a"}, {"name": "b"}]),
            )
            assert cursor.rowcount == 2
