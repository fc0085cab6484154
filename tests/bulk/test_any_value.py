"""bulk_copy() of values that Hypothesis draws."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dorm_vector.engines.postgresql import copying as postgresql_copy
from dorm_vector.engines.postgresql import dumpers
from tests.support.bulk import KOLKATA, NEW_YORK, UTC, saved_and_copied
from tests.testapp.models import Everything

DATETIME = datetime.datetime

ANY = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def literal(number: Decimal) -> bool:
    """Whether PostgreSQL takes what psycopg writes of a number."""
    if number.is_nan():
        return number.is_qnan() and not number.is_signed()
    return not number.is_finite() or abs(number.adjusted()) < 5000


MANTISSAS = st.builds(
    lambda number, exponent: Decimal(number).scaleb(exponent),
    st.integers(-(10**25), 10**25),
    st.integers(-60, 60),
)


class TestAnyValue:
    def check(self, alias: str, name: str, values: list[Any]) -> None:
        saved, copied = saved_and_copied(
            alias, lambda: [Everything(pk=pk, **{name: value}) for pk, value in enumerate(values)]
        )
        assert copied == saved

    @ANY
    @given(st.lists(st.decimals(-(10**21), 10**21, places=8), min_size=1, max_size=10))
    def test_decimals(self, alias: str, values: list[Any]) -> None:
        self.check(alias, "number", values)

    @ANY
    @given(
        st.lists(
            st.datetimes(
                DATETIME(2, 1, 1),
                DATETIME(9998, 12, 31),
                timezones=st.sampled_from([UTC, KOLKATA, NEW_YORK]),
            ),
            min_size=1,
            max_size=10,
        )
    )
    def test_datetimes(self, alias: str, values: list[Any]) -> None:
        self.check(alias, "moment", values)

    @ANY
    @given(
        st.lists(
            st.timedeltas(datetime.timedelta(-(10**6)), datetime.timedelta(10**6)),
            min_size=1,
            max_size=10,
        )
    )
    def test_durations(self, alias: str, values: list[Any]) -> None:
        self.check(alias, "duration", values)

    @ANY
    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
    def test_text(self, alias: str, values: list[Any]) -> None:
        self.check(alias, "text", values)

    @ANY
    @given(st.lists(st.one_of(MANTISSAS, st.decimals().filter(literal)), min_size=1, max_size=50))
    def test_decimals_of_any_size(self, db: None, values: list[Decimal]) -> None:
        """numeric without a precision, which older Django has no field for."""
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE numbers (id integer, n numeric)")
            copied = (
                b"\0\2" + dumpers._fixed("i")(place) + dumpers._numeric(value)
                for place, value in enumerate(values)
            )
            with cursor.copy("COPY numbers FROM STDIN (FORMAT BINARY)") as copying:
                copying.write(b"".join((postgresql_copy.HEADER, *copied, postgresql_copy.TRAILER)))
            cursor.execute("SELECT n::text FROM numbers ORDER BY id")
            found = [text for (text,) in cursor.fetchall()]
            cursor.execute("DROP TABLE numbers")
            for value, text in zip(values, found, strict=True):
                cursor.execute("SELECT (%s::numeric)::text", [value])
                assert (text,) == cursor.fetchone()
