"""What docs/libsql.rst and docs/libsql_tests.rst say of differences."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.db import utils as django_errors
from django.db.models import F
from django.db.models import functions as fn

from dorm_vector.backends.libsql import dbapi
from dorm_vector.backends.libsql.base import OPTIONS
from dorm_vector.backends.libsql.features import SKIPS
from tests.support.libsql_backend import Author, Moment, Sample, create, one
from tests.support.paths import DOCS


class TestDifferences:
    """Each of these is described. Where one of them ends, so does its description."""

    def test_text_in_double_quotes(self, raw: dbapi.Connection) -> None:
        with pytest.raises(dbapi.OperationalError, match="no such column: text"):
            raw.execute('SELECT "text"')

    @pytest.mark.parametrize("pattern", [r"(a)\1", "a(?=b)", "[[:alpha:]]"])
    def test_regular_expressions(self, database: Any, pattern: str) -> None:
        create("aab")
        with pytest.raises(django_errors.OperationalError):
            list(Author.objects.using("scratch").filter(name__regex=pattern))

    def test_cases_past_ascii(self, database: Any) -> None:
        create("É")
        authors = Author.objects.using("scratch")
        assert [authors.filter(name__iregex=each).count() for each in "Éé"] == [1, 0]

    def test_mod_by_zero(self, database: Any) -> None:
        Sample.objects.using("scratch").create(number=0.0, big=5)
        found = Sample.objects.using("scratch").annotate(v=fn.Mod("big", "number"))
        assert found.get().v is None

    def test_sums_of_six(self, database: Any) -> None:
        deep = F("at")
        for days in range(6):
            deep = deep + dt.timedelta(days=days)
        with pytest.raises(django_errors.NotSupportedError, match="parser stack overflow"):
            list(Moment.objects.using("scratch").annotate(v=deep))

    def test_vacuum(self, raw: dbapi.Connection) -> None:
        def nearest() -> list[int]:
            sql = "SELECT id FROM vector_top_k('nearby', vector32('[5,0]'), 3)"
            return sorted(pk for (pk,) in raw.execute(sql))

        index = "CREATE INDEX nearby ON v (libsql_vector_idx(v, 'metric=l2'))"
        raw.execute("CREATE TABLE v (id integer PRIMARY KEY, v F32_BLOB(2))")
        raw.execute(index)
        rows = ([n, f"[{n},0]"] for n in range(50))
        raw.executemany("INSERT INTO v VALUES (?, vector32(?))", rows)
        assert one(raw, "PRAGMA integrity_check") == "ok"
        raw.execute("VACUUM")
        assert nearest() == [4, 5, 6]
        assert "not in PRIMARY KEY order" in one(raw, "PRAGMA integrity_check")
        with pytest.raises(dbapi.IntegrityError):
            raw.execute("REINDEX")
        for expected in ([], [4, 5, 6]):
            raw.execute("DROP INDEX nearby")
            raw.execute(index)
            assert nearest() == expected
        assert one(raw, "PRAGMA integrity_check") == "ok"


def section(page: str, label: str) -> str:
    return (DOCS / page).read_text().split(f".. _{label}:")[1].split("\n.. _")[0]


class TestDocumentation:
    def test_skipped_tests(self) -> None:
        described: dict[str, set[str]] = {}
        reason = ""
        for line in section("libsql_tests.rst", "libsql-skips").splitlines():
            if test := re.fullmatch(r" +\* ``([\w.]+)``", line):
                described[reason].add(test[1])
            elif line:
                reason = line
                described[reason] = set()
        assert {reason: tests for reason, tests in described.items() if tests} == SKIPS

    def test_options(self) -> None:
        rows = re.findall(r"^``(\w+)``  ", section("libsql.rst", "libsql-options"), re.M)
        assert rows == sorted({*OPTIONS, "init_command", "transaction_mode"})
