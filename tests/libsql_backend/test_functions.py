"""The functions of Django's SQLite backend, compared with it."""

from __future__ import annotations

import decimal
import math
import re
import statistics
import time
import uuid
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import models
from django.db import utils as django_errors
from django.db.models import F, Value
from django.db.models import functions as fn

from tests.support.libsql_backend import Sample, insert, nearly, only_in, same

TEXTS = ["", "a", "abc", "abcdefgh", "ähm, ja", "😀b", "00", None]
NUMBERS = [0, 1, 2, 3, 5, 10, None]
FILLS = ["", "x", "xy", "é", "00", "'", None]


class TestFunctions:
    @pytest.mark.parametrize("function", [fn.LPad, fn.RPad])
    def test_padding(self, both: Any, function: Any) -> None:
        rows = [
            {"text": text, "big": number, "other": fill}
            for text in TEXTS
            for number in NUMBERS
            for fill in FILLS
        ]
        insert(both, Sample, rows)
        padded = Sample.objects.annotate(v=function("text", F("big"), F("other"))).order_by("pk")
        same(both, padded.values_list("text", "big", "other", "v"))
        same(both, Sample.objects.annotate(v=function("text", 6)).order_by("pk").values_list("v"))

    def test_repeat(self, both: Any) -> None:
        insert(both, Sample, [{"text": t, "big": n} for t in TEXTS for n in [*NUMBERS, -3]])
        repeated = Sample.objects.annotate(v=fn.Repeat("text", F("big"))).order_by("pk")
        same(both, repeated.values_list("text", "big", "v"))

    def test_reverse(self, both: Any) -> None:
        insert(both, Sample, [{"text": text} for text in [*TEXTS, "long" * 300]])
        same(both, Sample.objects.annotate(v=fn.Reverse("text")).order_by("pk").values_list("v"))
        assert Sample.objects.using("scratch").filter(text=fn.Reverse(Value("cba"))).count() == 1

    def test_parts_of_several_types(self, both: Any) -> None:
        """Django asks for no type where the outer function has one of its own."""
        # Not of NULL: stock SQLite's functions in Python fail on a number.
        insert(both, Sample, [{"text": text, "big": 12} for text in TEXTS if text is not None])
        mixed = fn.Coalesce("text", "big")
        rows = Sample.objects.order_by("pk")
        for inner in (fn.Reverse(mixed), fn.Repeat(mixed, 2), fn.LPad(mixed, 5, Value("-"))):
            same(both, rows.annotate(v=fn.Length(inner)).values_list("v"))
            same(both, rows.filter(pk__gte=fn.Length(inner)).values_list("pk"))
        for alias in both:
            with pytest.raises(FieldError) as caught:  # where a type is needed
                list(Sample.objects.using(alias).annotate(v=fn.Reverse(mixed)))
            assert str(caught.value) == (
                "Expression contains mixed types: CharField, BigIntegerField. "
                "You must set output_field."
            )

    def test_round(self, both: Any) -> None:
        """As Python's, also of what is just below a half, where SQLite was wrong before 3.43."""
        numbers = [103.55, -30.15, 459.085, 0.25, 783.0, -177.94, 1e300]
        insert(both, Sample, [{"number": number} for number in numbers])
        rows = Sample.objects.order_by("pk")
        by_two = rows.annotate(v=fn.Round("number", precision=2)).exclude(number=459.085)
        same(both, by_two.values_list("v"))
        for digits in (1, 2):
            found = rows.using("scratch").annotate(v=fn.Round("number", precision=digits))
            # Halves that are exact are rounded away from zero.
            wanted = [0.3 if (n, digits) == (0.25, 1) else round(n, digits) for n in numbers]
            assert list(found.values_list("v", flat=True)) == wanted

    def test_mod(self, both: Any) -> None:
        floats = [0.0, 1.0, 5.5, -5.5, 7.0, -7.0, 1e6 + 0.25, None]
        whole = [1, 2, -2, 3, 7, -7, 10**12 + 1, None]
        insert(both, Sample, [{"number": a, "big": b} for a in floats for b in whole])
        moduli = Sample.objects.annotate(v=fn.Mod("number", "big"), w=fn.Mod("big", Value(5)))
        same(both, moduli.order_by("pk").values_list("number", "big", "v", "w"), nearly)

    def test_results_that_are_not_there(self, both: Any) -> None:
        """SQLite's own math functions give NULL and infinity, which is what is expected here."""
        numbers = [0.0, -1.0, 2.0, 1000.0, -1000.0, 0.5]
        insert(both, Sample, [{"number": number} for number in numbers])
        expected = {
            fn.Ln: [None, None, math.log(2), math.log(1000), None, math.log(0.5)],
            fn.ACos: [math.acos(0), math.acos(-1), None, None, None, math.acos(0.5)],
            fn.ASin: [0.0, math.asin(-1), None, None, None, math.asin(0.5)],
            fn.Exp: [1.0, math.exp(-1), math.exp(2), math.inf, 0.0, math.exp(0.5)],
            lambda n: fn.Power(n, 0.5): [0.0, None, 2**0.5, 1000**0.5, None, 0.5**0.5],
            lambda n: fn.Power(n, 301): [0.0, -1.0, 2.0**301, math.inf, -math.inf, 0.5**301],
            lambda n: fn.Power(n, -1): [math.inf, -1.0, 0.5, 0.001, -0.001, 2.0],
            lambda n: fn.Log(2.0, n): [None, None, 1.0, math.log2(1000), None, -1.0],
            lambda n: fn.Log(n, 8.0): [None, None, 3.0, math.log(8, 1000), None, None],
        }
        for function, values in expected.items():
            rows = Sample.objects.using("scratch").annotate(v=function("number")).order_by("pk")
            found = list(rows.values_list("v", flat=True))
            assert [v is None for v in found] == [v is None for v in values]
            assert all(map(nearly, values, found))

    def test_whole_parts_of_large_numbers(self, both: Any) -> None:
        numbers = [1e300, -1e300, 2.0**63, -(2.0**63), 2.0**53 + 2, 1e15 + 0.5, -2.5, None]
        insert(both, Sample, [{"number": number} for number in numbers])
        parts = Sample.objects.annotate(v=fn.Ceil("number"), w=fn.Floor("number")).order_by("pk")
        same(both, parts.values_list("v", "w"))

    def test_mod_of_large_numbers(self, both: Any) -> None:
        big = [2**53 + 1, 2**63 - 1, -(2**63), 123456789012345678]
        insert(both, Sample, [{"big": value} for value in big])
        found = Sample.objects.using("scratch").annotate(v=fn.Mod("big", 10)).order_by("pk")
        assert list(found.values_list("v", flat=True)) == [
            math.copysign(abs(n) % 10, n) for n in big
        ]
        Sample.objects.using("scratch").update(number=1e300)
        found = Sample.objects.using("scratch").annotate(v=fn.Mod("number", 2.5))
        assert set(found.values_list("v", flat=True)) == {None}

    def test_casts_at_the_end_of_a_day(self, both: Any) -> None:
        seconds = ("59.9995", "59.999999", "59.1239", "58.9999")
        texts = [f"2026-01-31 23:59:{second}" for second in seconds] + ["2026-01-31"]
        insert(both, Sample, [{"text": text} for text in texts])
        for field in (models.DateField, models.DateTimeField):
            cast = fn.Cast(fn.Cast("text", field()), models.TextField())
            found = Sample.objects.using("scratch").annotate(v=cast)
            assert {value[:10] for value in found.values_list("v", flat=True)} == {"2026-01-31"}

    def test_mod_and_log_of_decimals(self, both: Any) -> None:
        exact = [decimal.Decimal(text) for text in ("5.4", "-5.4", "15", "0.0001")]
        insert(both, Sample, [{"exact": value} for value in exact])
        rows = Sample.objects.filter(exact__gt=0).annotate(v=fn.Log(Value(2), F("exact")))
        same(both, rows.order_by("pk").values_list("v"))
        moduli = Sample.objects.annotate(v=fn.Mod("exact", Value(decimal.Decimal(3))))
        same(both, moduli.order_by("pk").values_list("v"))

    def test_log_and_cot(self, both: Any) -> None:
        insert(both, Sample, [{"number": n, "big": 2} for n in (0.5, 1.0, 8.0, 1e10, math.e, None)])
        rows = Sample.objects.annotate(
            v=fn.Log("big", "number"), w=fn.Log(Value(10.0), F("number")), c=fn.Cot("number")
        )
        same(both, rows.order_by("pk").values_list("v", "w", "c"), nearly)

    def test_bitxor(self, both: Any) -> None:
        numbers = [0, 1, 5, -1, -7, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), None]
        rows = [{"big": a, "group": b} for a in numbers for b in (0, 3, -1, 2**31 - 1)]
        insert(both, Sample, rows)
        found = Sample.objects.using("scratch").annotate(v=F("big").bitxor(F("group")))
        for big, group, value in found.values_list("big", "group", "v"):
            assert value == (None if big is None else big ^ group)
        same(both, Sample.objects.annotate(v=F("big").bitxor(6)).order_by("pk").values_list("v"))

    @pytest.mark.parametrize("lookup", ["regex", "iregex"])
    @pytest.mark.parametrize(
        "pattern",
        [
            "b",
            "^a",
            "C$",
            "^abc$",
            "a.c",
            "[a-c]+d",
            "x|b",
            "(ab)+",
            "a{2}",
            r"\d",
            r"\.",
            "^$",
            "",
        ],
    )
    def test_regular_expressions(self, both: Any, lookup: str, pattern: str) -> None:
        texts = ["abc", "ABC", "aXc", "abcd", "aab", "abab", "b1", "1.5", "", "ä", None]
        insert(both, Sample, [{"text": text} for text in texts])
        rows = Sample.objects.filter(**{f"text__{lookup}": pattern}).order_by("pk")
        expected, found = (list(rows.using(a).values_list("text", flat=True)) for a in both)
        assert found == expected
        flags = re.I if lookup == "iregex" else 0
        matching = [t for t in texts if t is not None and re.search(pattern, t, flags)]
        assert found == matching

    def test_regular_expressions_of_columns(self, both: Any) -> None:
        insert(both, Sample, [{"text": t, "other": o} for t in TEXTS for o in ("B", "^a", None)])
        rows = Sample.objects.filter(text__iregex=F("other")).order_by("pk")
        same(both, rows.values_list("text", "other"))

    def test_random(self, database: Any) -> None:
        Sample.objects.using("scratch").bulk_create(Sample() for _ in range(500))
        drawn = Sample.objects.using("scratch").annotate(v=fn.Random()).values_list("v", flat=True)
        numbers = list(drawn)
        assert all(0 <= number < 1 for number in numbers)
        assert len(set(numbers)) == 500
        assert 0.4 < statistics.fmean(numbers) < 0.6
        orders = {
            tuple(Sample.objects.using("scratch").order_by("?").values_list("pk", flat=True))
            for _ in range(3)
        }
        assert len(orders) == 3

    @pytest.mark.parametrize("name", ["MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512"])
    def test_hashes(self, database: Any, name: str) -> None:
        hashed = Sample.objects.using("scratch").annotate(v=getattr(fn, name)("text"))
        with pytest.raises(
            django_errors.NotSupportedError, match=rf"^libSQL has no function {name}\.$"
        ):
            list(hashed)

    def test_uuids(self, database: Any) -> None:
        Sample.objects.using("scratch").bulk_create(Sample() for _ in range(200))
        for version in (4, 7):
            function = only_in(f"UUID{version}", fn)
            before = int(time.time() * 1000) - 1
            rows = Sample.objects.using("scratch").annotate(v=function())
            found = list(rows.values_list("v", flat=True))
            after = int(time.time() * 1000) + 1
            assert len(set(found)) == 200
            assert {(u.version, u.variant) for u in found} == {(version, uuid.RFC_4122)}
            if version == 7:
                assert all(before <= u.int >> 80 <= after for u in found)
