"""A short run of the fuzzer of ordinary ORM work: libSQL against stock SQLite."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz import orm


@pytest.fixture
def databases(django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock(), orm.databases():
        yield


@pytest.mark.parametrize("seed", range(12))
def test_no_difference(databases: Any, seed: int) -> None:
    orm.run_case(seed)


def test_a_difference_names_its_seed(databases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orm, "CASES", [lambda random_: lambda alias: alias])
    with pytest.raises(orm.Difference, match=r"^--case 7 \(<lambda>\):\nSQLite: 'fuzz_stock'"):
        orm.run_case(7)
