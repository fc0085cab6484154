"""A short run of the fuzzer of values, with fixed seeds."""

from __future__ import annotations

import pytest

from tests.fuzz import values


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_difference(db: None, seed: int) -> None:
    assert values.run(60, seed, cases=60) == 60
