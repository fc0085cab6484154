"""Aggregates that libSQL lacks, compared with those of Python's statistics and of stock SQLite."""

from __future__ import annotations

import decimal
import operator
import statistics
from typing import Any

import pytest
from django.db import models
from django.db import utils as django_errors
from django.db.models import F, Q, Window
from django.db.models import functions as fn

from tests.support.libsql_backend import Sample, insert, nearly, only_in, same

STATISTICS = {
    "one": [5.0],
    "none": [None, None],
    "two": [1.0, 4.0],
    "nulls": [None, 1.5, 2.5, None, 9.0],
    "same": [3.0, 3.0, 3.0],
    "many": [float(n * n % 17) for n in range(60)],
    "far": [1e6 + n for n in (1, 2, 4)],
    "negative": [-1.0, 1.0, -0.5, None],
}


def nearly_equal(number: float | None) -> Any:
    return pytest.approx(number, abs=1e-4) if number is not None else None


DEVIATIONS = {
    (models.StdDev, False): (statistics.pstdev, 1),
    (models.StdDev, True): (statistics.stdev, 2),
    (models.Variance, False): (statistics.pvariance, 1),
    (models.Variance, True): (statistics.variance, 2),
}


@pytest.mark.parametrize(("function", "sample"), DEVIATIONS)
class TestDeviations:
    """The stock backend raises where there are no values, or one of a sample."""

    @pytest.fixture
    def rows(self, database: Any) -> Any:
        rows = Sample.objects.using("scratch")
        rows.bulk_create(
            Sample(group=group, number=number, big=place)
            for group, numbers in enumerate(STATISTICS.values())
            for place, number in enumerate(numbers)
        )
        return rows

    def expected(self, function: Any, sample: bool, numbers: list[float | None]) -> Any:
        compute, least = DEVIATIONS[function, sample]
        kept = [number for number in numbers if number is not None]
        return compute(kept) if len(kept) >= least else None

    def test_groups(self, rows: Any, function: Any, sample: bool) -> None:
        found = rows.order_by("group").values("group").annotate(v=function("number", sample=sample))
        for row, numbers in zip(found, STATISTICS.values(), strict=True):
            assert row["v"] == nearly_equal(self.expected(function, sample, numbers))

    def test_filters(self, rows: Any, function: Any, sample: bool) -> None:
        some = function("number", sample=sample, filter=Q(big__gt=0))
        found = rows.order_by("group").values("group").annotate(v=some)
        for row, numbers in zip(found, STATISTICS.values(), strict=True):
            assert row["v"] == nearly_equal(self.expected(function, sample, numbers[1:]))

    def test_totals(self, rows: Any, function: Any, sample: bool) -> None:
        found = rows.aggregate(
            v=function(F("number") * 2 + F("big"), sample=sample, filter=Q(group=5)),
            none=function("number", sample=sample, filter=Q(group=99)),
            default=function("number", sample=sample, filter=Q(group=99), default=-1.0),
        )
        numbers = [2 * number + n for n, number in enumerate(STATISTICS["many"])]
        expected = self.expected(function, sample, numbers)
        assert found == {"v": nearly_equal(expected), "none": None, "default": -1}

    def test_having(self, rows: Any, function: Any, sample: bool) -> None:
        grouped = (
            rows.order_by("group").values("group").annotate(v=function("number", sample=sample))
        )
        found = grouped.filter(v__gt=1).values_list("group", flat=True)
        expected = [
            group
            for group, numbers in enumerate(STATISTICS.values())
            if (self.expected(function, sample, numbers) or 0) > 1
        ]
        assert list(found) == expected

    def test_no_windows(self, rows: Any, function: Any, sample: bool) -> None:
        windowed = rows.annotate(v=Window(function("number", sample=sample)))
        with pytest.raises(
            django_errors.NotSupportedError,
            match=r"^libSQL has no (STDDEV|VAR)_(POP|SAMP) over a window\.$",
        ):
            list(windowed)


class TestAggregates:
    def test_like_the_stock_backend(self, both: Any) -> None:
        insert(both, Sample, [{"number": n, "group": n % 3} for n in (1, 5, 2, 9, 4, 4, 7)])
        grouped = Sample.objects.order_by("group").values("group")
        values = grouped.annotate(
            a=models.StdDev("number"),
            b=models.Variance("number"),
            c=models.StdDev("number", filter=Q(number__lt=9)),
        )
        same(both, values, nearly)

    def test_deviations_of_decimals(self, both: Any) -> None:
        exact = [decimal.Decimal(text) for text in ("1.5", "2.25", "7.125")]
        insert(both, Sample, [{"exact": value} for value in exact])
        found = Sample.objects.using("scratch").aggregate(v=models.StdDev("exact"))["v"]
        assert float(found) == pytest.approx(float(statistics.pstdev(exact)))

    def test_windows(self, both: Any) -> None:
        insert(both, Sample, [{"number": n, "group": n % 3} for n in range(20)])
        windowed = Sample.objects.annotate(
            v=Window(models.Sum("number"), partition_by="group", order_by="pk"),
            w=Window(fn.RowNumber(), partition_by="group", order_by="-pk"),
        )
        same(both, windowed.order_by("pk").values_list("v", "w"))

    def test_any_value(self, database: Any) -> None:
        function = only_in("AnyValue", models)
        groups = [[5], [6, 3], [None], [None, 12]]
        rows = Sample.objects.using("scratch")
        rows.bulk_create(
            Sample(group=g, big=n) for g, numbers in enumerate(groups) for n in numbers
        )
        found = rows.order_by("group").values("group").annotate(v=function("big"))
        for row, numbers in zip(found, groups, strict=True):
            assert row["v"] in ([n for n in numbers if n is not None] or [None])

    @pytest.mark.parametrize("name", ["BitAnd", "BitOr", "BitXor"])
    def test_bits(self, both: Any, name: str) -> None:
        function = only_in(name, models)
        combine = {"BitAnd": operator.and_, "BitOr": operator.or_, "BitXor": operator.xor}[name]
        groups = [[5], [6, 3], [None], [None, 12, 10, 9], [-1, 7], [-8, -3], [2**62, 2**53 + 1]]
        rows = [{"group": g, "big": n} for g, numbers in enumerate(groups) for n in numbers]
        insert(both, Sample, rows)
        found = (
            Sample.objects.using("scratch")
            .order_by("group")
            .values("group")
            .annotate(v=function("big"))
        )
        for row, numbers in zip(found, groups, strict=True):
            kept = [number for number in numbers if number is not None]
            expected = kept[0] if kept else None
            for number in kept[1:]:
                expected = combine(expected, number)
            assert row["v"] == expected
