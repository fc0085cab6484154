"""bulk_copy() without numpy."""

from __future__ import annotations

import math
import sys
from array import array
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from dorm_vector import bulk_copy
from tests.testapp.models import PAIRS


class TestWithoutNumpy:
    """What is asked of numpy where it is imported, and of Python where it is not."""

    @pytest.fixture(autouse=True)
    def no_numpy(self, monkeypatch: Any) -> None:
        monkeypatch.setitem(sys.modules, "numpy", None)

    def test_values(self, alias: str) -> None:
        Pair = PAIRS[3]
        vectors = [[1.5, 0.1, -2.0], (1, 2, 3), "[1,2,3]", array("f", [4, 5, 6]), None] * 20
        bulk_copy(Pair.objects.using(alias), (Pair(a=vector, b=[0, 0, 1]) for vector in vectors))
        found = list(Pair.objects.using(alias).order_by("pk").values_list("a", flat=True))
        expected = [[1.5, 0.10000000149011612, -2.0], [1, 2, 3], [1, 2, 3], [4, 5, 6], None]
        assert found == expected * 20

    @pytest.mark.parametrize("number", [1, 40])
    def test_not_finite(self, alias: str, number: int) -> None:
        Pair = PAIRS[256]
        vectors = ([math.nan if n == number else 1.0] * 256 for n in range(1, 50))
        message = f"Row {number}: testapp.Pair256.a: Component 0 is NaN."
        with pytest.raises(ValidationError, match=message), transaction.atomic(alias):
            bulk_copy(Pair.objects.using(alias), (Pair(a=vector) for vector in vectors))
