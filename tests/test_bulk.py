"""bulk_copy(): what it loads is what save() saves, and what it refuses is loaded by no half."""

from __future__ import annotations

import datetime
import functools
import itertools
import math
import sys
import tracemalloc
import uuid
import warnings
import zoneinfo
from array import array
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import DataError, IntegrityError, connections, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Lower
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector import SparseVector

from dorm_vector import VectorQuerySet, bulk_copy, nearest
from dorm_vector.bulk import CHUNK
from dorm_vector.engines.postgresql import copying as postgresql_copy
from dorm_vector.engines.postgresql import dumpers
from dorm_vector.testing import explain_nearest
from tests.support.matrix import only
from tests.support.planner import forced
from tests.testapp.models import (
    PAIRS,
    Arrays,
    Chunk,
    Colour,
    Composite,
    Defaults,
    Document,
    Everything,
    Full,
    Generated,
    Halved,
    Indexed,
    Item,
    ItemProxy,
    Level,
    Numpy,
    Odd,
    OnlyKey,
    Ordered,
    Owner,
    Passage,
    PassageProxy,
    Portable,
    Shout,
    Sparse,
    Stamped,
    SubItem,
    TextKey,
    Unique,
)

DATE, DATETIME = datetime.date, datetime.datetime
UTC = datetime.UTC
KOLKATA = zoneinfo.ZoneInfo("Asia/Kolkata")
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
KEY = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")

refused = functools.partial(pytest.raises, ValueError)
autocommit = pytest.mark.django_db(databases="__all__", transaction=True)
on_postgresql = pytest.mark.django_db(databases="__all__")


def shown(alias: str, model: type[models.Model]) -> list[Any]:
    """What the database says of a table's rows: all that there is to tell them apart."""
    connection = connections[alias]
    table = connection.ops.quote_name(model._meta.db_table)
    columns = [connection.ops.quote_name(f.column) for f in model._meta.concrete_fields]
    if connection.vendor == "postgresql":
        told = ", ".join(f"{column}::text" for column in columns)
    else:
        told = ", ".join(f"typeof({column}), quote({column})" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {told} FROM {table} ORDER BY 1")
        return cursor.fetchall()


def saved_and_copied(alias: str, make: Callable[[], list[Any]]) -> tuple[list[Any], list[Any]]:
    """What the database shows of the same rows, loaded in both ways."""
    rows = make()
    model = type(rows[0])
    for row in rows:
        row.save(using=alias, force_insert=True)
    saved = shown(alias, model)
    model.objects.using(alias).all().delete()
    assert bulk_copy(model.objects.using(alias), iter(make())) == len(rows)
    copied = shown(alias, model)
    model.objects.using(alias).all().delete()
    return saved, copied


def utc(*parts: int) -> datetime.datetime:
    return DATETIME(*parts, tzinfo=UTC)


VALUES: dict[str, list[Any]] = {
    "small": [0, -1, 32767, -32768, True, "12", 3.0],
    "integer": [0, 2**31 - 1, -(2**31), Decimal(5)],
    "big": [0, 2**63 - 1, -(2**63), np.int64(7)],
    "positive_small": [0, 32767],
    "positive": [0, 2**31 - 1],
    "positive_big": [0, 2**63 - 1],
    "number": [
        *map(
            Decimal,
            [
                "0",
                "-0",
                "-0.0",
                "0E+5",
                "1",
                "-1",
                "1E-8",
                "-1E-8",
                "0.012",
                "0.12",
                "0.10",
                "0.00000100",
                "12.0345",
                "10000",
                "10001",
                "100000000",
                "9999.9999",
                "1E+4",
                "1.5E+3",
                "-123456789.12345678",
                "9999999999999999999999.99999999",
                "1000000000000000000000",
                "0.00010001",
                "0.000100010001",
                "1.000000005",
                "1.000000015",
            ],
        ),
        7,
        0.5,
        "3.25",
    ],
    "cents": [Decimal("999.99"), Decimal("-0.01"), Decimal("1.5"), Decimal(0)],
    "real": [0.0, 5e-324, 1.7976931348623157e308, 0.1, 3, "2.5", np.float64(1.25)],
    "flag": [True, False, 1, 0, "True"],
    "char": ["", "a", "ä€𝄞", "👩‍👩‍👧", "%s %% \\ ' \"", "\t\n\\N", mark_safe("<b>"), Colour.RED, 5],
    "text": ["", "x" * 100_000, "\x01\x7f\ufffd", gettext_lazy("lazy"), 1.5],
    "slug": ["", "a-b_c"],
    "email": ["someone@example.com"],
    "url": ["https://example.com/?a=%20&b=ü"],
    "file": ["", "folder/name.txt"],
    "path": ["/tmp/x"],
    "date": [DATE(1, 1, 1), DATE(9999, 12, 31), DATE(2000, 1, 1), DATE(1999, 12, 31), "2024-02-29"],
    "moment": [
        utc(1, 1, 1),
        utc(9999, 12, 31, 23, 59, 59, 999999),
        utc(2000, 1, 1),
        utc(1999, 12, 31, 23, 59, 59, 999999),
        DATETIME(2024, 5, 6, 7, 8, 9, 123456, tzinfo=KOLKATA),
        DATETIME(2024, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=1),
        "2024-01-02T03:04:05.000006+02:00",
    ],
    "time": [
        datetime.time(0),
        datetime.time(23, 59, 59, 999999),
        datetime.time(12, 30),
        "01:02:03",
    ],
    "duration": [
        datetime.timedelta(0),
        datetime.timedelta(microseconds=1),
        datetime.timedelta(microseconds=-1),
        datetime.timedelta(days=-3, hours=5, microseconds=7),
        datetime.timedelta(days=400, seconds=86399),
        datetime.timedelta(days=100_000_000),
    ],
    "key": [KEY, uuid.UUID(int=0), str(KEY), KEY.hex],
    "binary": [b"", b"\0\xff", memoryview(b"abc"), bytearray(b"xyz"), bytes(range(256))],
    "json": [
        {},
        [],
        "",
        "text \\ \" '",
        0,
        1.5,
        True,
        False,
        None,
        {"a": [1, {"b": None}], "ü": "👩 \x7f", "c": {"d": [[]]}},
        [None],
        Value(None, models.JSONField()),
        10**30,
    ],
    "rich": [{"at": utc(2024, 1, 2), "key": KEY, "price": Decimal("1.10")}],
    "address": ["192.0.2.1", "2001:0db8::0001", "::ffff:192.0.2.1", "::", "0.0.0.0", "::1", ""],
    "address4": ["255.255.255.255"],
    "colour": [Colour.RED, Colour.NONE, "red"],
    "level": [Level.LOW, Level.HIGH, 2],
    "vector": [[1, 2, 3], (0.1, -0.0, 1e-45), "[1,2,3]", np.array([1e-3, 2, 3]), range(3)],
    "half": [[1, 2, 3], [65504, -6e-8, 0.1], np.array([1, 2, 3], "f2"), "[1,2,3]"],
    "bits": ["0000000000", "1111111111", [True] + [False] * 9, b"\xff\xc0", np.ones(10, bool)],
}


class TestFields:
    """Rows that were copied are those that were saved, as the database shows them."""

    @pytest.mark.parametrize("name", VALUES)
    def test_values(self, alias: str, name: str) -> None:
        def make() -> list[Any]:
            return [Everything(pk=pk, **{name: value}) for pk, value in enumerate(VALUES[name], 1)]

        saved, copied = saved_and_copied(alias, make)
        assert copied == saved

    def test_all_at_once_and_read(self, alias: str) -> None:
        manager = Everything.objects.using(alias)
        owner, item = Owner.objects.using(alias).create(), self.item(alias)
        others = {"owner": owner, "item": item, "named": item}
        rows = [
            {name: values[place % len(values)] for name, values in VALUES.items()} | others
            for place in range(2)
        ]
        found = []
        for row in rows:
            for load in (lambda obj: obj.save(using=alias), lambda obj: bulk_copy(manager, [obj])):
                load(Everything(pk=1, **row))
                found.append(manager.values().get())
                manager.all().delete()
        assert found[0] == found[1]
        assert found[2] == found[3]
        assert found[0]["moment"] == utc(1, 1, 1)

    def item(self, alias: str) -> Item:
        return Item.objects.using(alias).create(name="an item")

    def test_null(self, alias: str) -> None:
        saved, copied = saved_and_copied(alias, lambda: [Everything(pk=1), Everything(pk=2)])
        assert copied == saved
        bulk_copy(Everything.objects.using(alias), [Everything()])
        (row,) = Everything.objects.using(alias).values()
        assert {name for name, value in row.items() if value is not None} == {"id", "file"}

    @pytest.mark.parametrize("by", ["instance", "id", "text"])
    def test_relations(self, alias: str, by: str) -> None:
        owner, item = Owner.objects.using(alias).create(), self.item(alias)
        row = {
            "instance": {"owner": owner, "item": item, "named": item},
            "id": {"owner_id": owner.pk, "item_id": item.pk, "named_id": item.name},
            "text": {"owner_id": str(owner.pk), "item_id": str(item.pk), "named_id": "an item"},
        }[by]
        saved, copied = saved_and_copied(alias, lambda: [Everything(pk=1, **row)])
        assert copied == saved
        bulk_copy(Everything.objects.using(alias), [Everything(**row)])
        found = Everything.objects.using(alias).get()
        assert (found.owner, found.item, found.named) == (owner, item, item)

    def test_related_object_that_was_saved_after_its_assignment(self, alias: str) -> None:
        document = Document(title="later", embedding=[1, 2, 3])
        chunk = Chunk(document=document)
        chunk._state.db = alias
        document.save(using=alias)
        bulk_copy(Chunk.objects.using(alias), [chunk])
        assert Chunk.objects.using(alias).get().document == document

    def test_numpy(self, alias: str) -> None:
        rows = [
            {"vector": np.array([1, 2, 3], dtype), "half": np.array([1, 2, 3], dtype)}
            for dtype in ("f2", "f4", "f8", ">f4", "i8")
        ]
        rows.append({"bits": np.array([1, 0] * 5, bool), "vector": np.arange(6.0)[::2]})

        def make() -> list[Any]:
            return [Numpy(pk=pk, **row) for pk, row in enumerate(rows)]

        saved, copied = saved_and_copied(alias, make)
        assert copied == saved

    def test_iterators_as_vectors(self, alias: str) -> None:
        bulk_copy(Full.objects.using(alias), [Full(a=iter([1, 2, 3]), b=(n for n in range(3)))])
        assert Full.objects.using(alias).values_list("a", "b").get() == ([1, 2, 3], [0, 1, 2])

    def test_sparse(self, db: None) -> None:
        def make() -> list[Any]:
            given = [
                {},
                {0: 1.5, 4: -2},
                "{1:0.1}/5",
                [0, 0, 1e-45, 0, 3],
                SparseVector([1, 0] * 2 + [0]),
            ]
            return [Sparse(pk=pk, a=value) for pk, value in enumerate([*given, None])]

        saved, copied = saved_and_copied("postgresql", make)
        assert copied == saved

    @pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Australia/Lord_Howe"])
    def test_without_time_zones(self, alias: str, settings: Any, zone: str) -> None:
        """A naive datetime is in the time zone of the connection, where hours may be twice."""
        settings.USE_TZ, settings.TIME_ZONE = False, zone
        connection = connections[alias]
        for name in ("timezone", "timezone_name"):
            connection.__dict__.pop(name, None)
        connection.ensure_timezone()
        moments = [
            DATETIME(2024, 7, 1, 12, 0, 0, 5),
            DATETIME(2024, 3, 10, 2, 30),
            DATETIME(2024, 11, 3, 1, 30),
            DATETIME(2024, 11, 3, 1, 30, fold=1),
            DATETIME(2024, 4, 7, 1, 45),
            DATETIME(2024, 10, 6, 2, 15),
            DATETIME(1850, 1, 1),
            DATETIME(1, 1, 1),
            DATETIME(9999, 12, 31, 23, 59, 59, 999999),
        ]
        try:
            saved, copied = saved_and_copied(
                alias, lambda: [Everything(pk=pk, moment=m) for pk, m in enumerate(moments)]
            )
            assert copied == saved
        finally:
            settings.USE_TZ, settings.TIME_ZONE = True, "America/Chicago"
            for name in ("timezone", "timezone_name"):
                connection.__dict__.pop(name, None)
            connection.ensure_timezone()

    def test_naive_datetime_with_time_zones(self, alias: str) -> None:
        rows = [Everything(moment=DATETIME(2024, 7, 1))]
        with pytest.warns(RuntimeWarning, match="received a naive datetime"):
            bulk_copy(Everything.objects.using(alias), rows)
        assert Everything.objects.using(alias).get().moment == utc(2024, 7, 1, 5)

    @pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
    def test_connection_in_another_time_zone(self, db: None, zone: str) -> None:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute(f"SET LOCAL TIME ZONE '{zone}'")
        saved, copied = saved_and_copied(
            "postgresql",
            lambda: [Everything(pk=1, moment=utc(2024, 1, 1), date=DATE(2024, 1, 1))],
        )
        assert copied == saved


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


class TestDefaults:
    def test_of_the_field_and_of_the_database(self, alias: str) -> None:
        rows = [Stamped(), Stamped(called=1), Stamped(given=2), Stamped(called=3, given=4)]
        before = datetime.datetime.now(UTC) - datetime.timedelta(minutes=1)
        assert bulk_copy(Stamped.objects.using(alias), rows) == 4
        found = list(Stamped.objects.using(alias).order_by("pk"))
        assert [(row.called, row.given) for row in found] == [(42, 7), (1, 7), (42, 2), (3, 4)]
        assert [row.doubled for row in found] == [84, 2, 84, 6]
        for row in found:
            assert min(row.now, row.created, row.changed) > before
        assert [row.changed for row in rows] == [row.changed for row in found]

    def test_of_vectors(self, alias: str) -> None:
        bulk_copy(Defaults.objects.using(alias), [Defaults(), Defaults(in_database=[1, 2, 3])])
        found = Defaults.objects.using(alias).order_by("pk").values_list("called", "in_database")
        assert [row[0] for row in found] == [[1, 0, 0]] * 2
        assert [row[1] for row in found] == [pytest.approx([0.5, 0.25, 0.1]), [1, 2, 3]]

    def test_generated(self, alias: str) -> None:
        bulk_copy(Generated.objects.using(alias), [Generated(embedding=[1, 2, 5])])
        row = Generated.objects.using(alias).get()
        assert (row.same, row.distance) == ([1, 2, 5], 2)

    def test_nothing_to_write(self, alias: str) -> None:
        assert bulk_copy(OnlyKey.objects.using(alias), [OnlyKey() for _ in range(3)]) == 3
        assert OnlyKey.objects.using(alias).count() == 3
        bulk_copy(OnlyKey.objects.using(alias), [OnlyKey(pk=100), OnlyKey()])
        assert OnlyKey.objects.using(alias).count() == 5


class TestPrimaryKeys:
    def test_not_set(self, alias: str) -> None:
        item = Item(name="one")
        bulk_copy(Item.objects.using(alias), [item])
        assert item.pk is None

    def test_with_and_without(self, alias: str) -> None:
        rows = [Item(pk=100 + n if n % 2 else None, name=f"{n}") for n in range(6)]
        bulk_copy(Item.objects.using(alias), rows)
        found = dict(Item.objects.using(alias).values_list("name", "pk"))
        assert [found[name] for name in "135"] == [101, 103, 105]
        assert len(set(found.values())) == 6

    def test_next_row_has_a_number_of_its_own(self, alias: str) -> None:
        bulk_copy(Item.objects.using(alias), [Item(name=f"{n}") for n in range(3)])
        Item.objects.using(alias).create(name="next")
        assert len(set(Item.objects.using(alias).values_list("pk", flat=True))) == 4

    def test_uuid(self, alias: str) -> None:
        rows = [Owner(name="made"), Owner(pk=KEY, name="given"), Owner(pk=None, name="default")]
        bulk_copy(Owner.objects.using(alias), rows)
        found = {row.name: row.pk for row in Owner.objects.using(alias).all()}
        assert found == {row.name: row.pk for row in rows}
        assert found["given"] == KEY

    def test_text_and_a_relation_to_the_same_table(self, alias: str) -> None:
        root = TextKey(name="root")
        rows = [root, TextKey(name="leaf", parent=root), TextKey(name="ä", parent_id="leaf")]
        bulk_copy(TextKey.objects.using(alias), rows)
        found = TextKey.objects.using(alias).values_list("name", "parent")
        assert set(found) == {("root", None), ("leaf", "root"), ("ä", "leaf")}

    def test_composite(self, alias: str) -> None:
        rows = [Composite(tenant=1, number=n, note=f"{n}") for n in range(3)]
        bulk_copy(Composite.objects.using(alias), rows)
        found = Composite.objects.using(alias).order_by("pk")
        assert [row.pk for row in found] == [(1, 0), (1, 1), (1, 2)]
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Composite.objects.using(alias), [Composite(tenant=1)])

    def test_automatic_key_that_makes_its_values(self, alias: str, transactional_db: None) -> None:
        """DEFAULT_AUTO_FIELD may name such a class."""
        numbers = itertools.count(7_000)

        class Counted(models.BigAutoField):
            def get_pk_value_on_save(self, instance: Any) -> int:
                return next(numbers)

        attributes = {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "dorm_vector", "db_table": "counted"}),
            "id": Counted(primary_key=True, auto_created=True),
        }
        with isolate_apps("dorm_vector"):
            model: Any = type("Numbered", (models.Model,), attributes)
        with connections[alias].schema_editor() as editor:
            editor.create_model(model)
        try:
            bulk_copy(model.objects.using(alias), (model() for _ in range(3)))
            found = model.objects.using(alias).order_by("pk").values_list("pk", flat=True)
            assert list(found) == [7000, 7001, 7002]
        finally:
            with connections[alias].schema_editor() as editor:
                editor.delete_model(model)

    def test_missing(self, alias: str) -> None:
        """Django takes the empty text for a key that is None."""
        saved, copied = saved_and_copied(alias, lambda: [TextKey(name=None)])
        assert copied == saved

    def test_taken(self, alias: str) -> None:
        Item.objects.using(alias).create(pk=5, name="five")
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), [Item(pk=4, name="4"), Item(pk=5, name="5")])
        assert Item.objects.using(alias).count() == 1


class TestExpressions:
    """A row that has one goes in as by bulk_create()."""

    def test_between_others(self, alias: str) -> None:
        names = ["A", Lower(Value("B")), "C", Value("D"), Lower(Value("E"))]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert bulk_copy(Item.objects.using(alias), [Item(name=name) for name in names]) == 5
        found = Item.objects.using(alias).order_by("pk").values_list("name", flat=True)
        assert list(found) == ["A", "b", "C", "D", "e"]

    def test_error_names_the_row(self, alias: str) -> None:
        rows = [Item(name="1"), Item(name=Lower(Value("2")), embedding=[1])]
        with pytest.raises(ValidationError) as caught:
            bulk_copy(Item.objects.using(alias), rows)
        message = "Row 2: testapp.Item.embedding: Expected 3 dimensions, not 1."
        assert caught.value.messages == [message]

    def test_reference_to_a_column(self, alias: str) -> None:
        with pytest.raises(ValueError, match=r"F\(\) expressions can only be used to update"):
            bulk_copy(Item.objects.using(alias), [Item(name=F("category"))])


class TestConflicts:
    @pytest.fixture
    def items(self, alias: str) -> Any:
        # Past what any sequence of these tables has come to.
        manager = Item.objects.using(alias)
        manager.create(pk=9001, name="one", category=1, embedding=[1, 1, 1])
        manager.create(pk=9002, name="two", category=2)
        return manager

    def rows(self) -> list[Item]:
        return [
            Item(name="one", category=10, embedding=[9, 9, 9]),
            Item(name="three", category=30),
            Item(pk=9002, name="zwei", category=20),
        ]

    def found(self, items: Any) -> dict[str, int]:
        return dict(items.values_list("name", "category"))

    def test_ignore(self, items: Any) -> None:
        assert bulk_copy(items, self.rows(), ignore_conflicts=True) == 3
        assert self.found(items) == {"one": 1, "two": 2, "three": 30}

    def test_update(self, items: Any) -> None:
        rows = self.rows()[:2]
        options = {"unique_fields": ["name"], "update_fields": ["category", "embedding"]}
        assert bulk_copy(items, rows, update_conflicts=True, **options) == 2
        assert self.found(items) == {"one": 10, "two": 2, "three": 30}
        assert items.get(name="one").pk == 9001
        assert items.get(name="one").embedding == [9, 9, 9]

    @pytest.mark.parametrize("unique", ["pk", "id"])
    def test_update_by_primary_key(self, items: Any, unique: str) -> None:
        rows = [Item(pk=9002, name="zwei", category=20), Item(pk=3, name="drei", category=30)]
        options = {"unique_fields": (unique,), "update_fields": ("name",)}
        bulk_copy(items, rows, update_conflicts=True, **options)
        assert self.found(items) == {"one": 1, "zwei": 2, "drei": 30}

    def test_other_columns_stay_checked(self, items: Any) -> None:
        with pytest.raises(IntegrityError), transaction.atomic(items.db):
            bulk_copy(
                items,
                [Item(pk=9001, name="two")],
                update_conflicts=True,
                unique_fields=["pk"],
                update_fields=["name"],
            )

    @only("postgresql")
    def test_null_is_refused(self, alias: str) -> None:
        rows = [Document(title="x", embedding=None)]
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Document.objects.using(alias), rows, ignore_conflicts=True)

    @only("sqlite", "libsql")
    def test_null_is_left_out(self, alias: str) -> None:
        """As INSERT OR IGNORE does."""
        rows = [Document(title="x", embedding=None)]
        assert bulk_copy(Document.objects.using(alias), rows, ignore_conflicts=True) == 1
        assert not Document.objects.using(alias).exists()

    def test_batches_and_mixed_rows(self, items: Any) -> None:
        rows = [*self.rows(), Item(name=Lower(Value("ONE"))), Item(name="four")]
        assert bulk_copy(items, rows, ignore_conflicts=True, batch_size=2) == 5
        assert set(self.found(items)) == {"one", "two", "three", "four"}

    def test_twice_in_one_transaction(self, items: Any) -> None:
        with transaction.atomic(items.db):
            for _ in range(2):
                bulk_copy(items, self.rows(), ignore_conflicts=True)
        assert items.count() == 3

    def test_same_key_twice_in_the_rows(self, items: Any) -> None:
        rows = [Item(name="new", category=1), Item(name="new", category=2)]
        bulk_copy(items, rows, ignore_conflicts=True)
        assert items.get(name="new").category == 1

    def test_by_a_vector(self, alias: str) -> None:
        manager = Unique.objects.using(alias)
        manager.create(embedding=[1, 2, 3], note="old")
        bulk_copy(
            manager,
            [Unique(embedding=[1, 2, 3], note="new"), Unique(embedding=[0, 0, 0], note="zero")],
            update_conflicts=True,
            unique_fields=["embedding"],
            update_fields=["note"],
        )
        assert set(manager.values_list("note", flat=True)) == {"new", "zero"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"ignore_conflicts": True, "update_conflicts": True},
                "ignore_conflicts and update_conflicts are mutually exclusive.",
            ),
            (
                {"update_conflicts": True, "unique_fields": ["name"]},
                "Fields that will be updated when a row insertion fails on conflicts must be "
                "provided.",
            ),
            (
                {"update_conflicts": True, "update_fields": ["category"]},
                "Unique fields that can trigger the upsert must be provided.",
            ),
            (
                {"update_conflicts": True, "unique_fields": ["name"], "update_fields": ["id"]},
                "bulk_create() cannot be used with primary keys in update_fields.",
            ),
        ],
    )
    def test_options_are_checked_as_in_bulk_create(
        self, items: Any, options: dict[str, Any], message: str
    ) -> None:
        for load in (items.bulk_create, lambda rows, **kw: bulk_copy(items, rows, **kw)):
            with refused() as caught:
                load(self.rows(), **options)
            assert str(caught.value) == message

    def test_unknown_field(self, items: Any) -> None:
        with pytest.raises(FieldDoesNotExist):
            bulk_copy(items, [], update_conflicts=True, unique_fields=["x"], update_fields=["y"])


def items_with(third: dict[str, Any]) -> Iterator[Item]:
    for number in range(1, 6):
        row: dict[str, Any] = {"name": f"{number}", "embedding": [1, 2, 3]}
        yield Item(**row | (third if number == 3 else {}))


class TestErrors:
    @pytest.mark.parametrize(
        ("third", "message"),
        [
            ({"embedding": [1, 2]}, "Expected 3 dimensions, not 2."),
            ({"embedding": np.ones(4)}, "Expected 3 dimensions, not 4."),
            ({"embedding": [1, float("nan"), 2]}, "Component 1 is NaN."),
            ({"embedding": np.array([1, 1e39, 2])}, "Component 1 is 1e+39, beyond"),
            ({"embedding": np.array([1, np.inf, 2], "f4")}, "Component 1 is infinite."),
            ({"embedding": "hello"}, "'hello' is not a vector."),
        ],
    )
    def test_vectors(self, alias: str, third: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with(third))
        assert caught.value.messages[0].startswith(f"Row 3: testapp.Item.embedding: {message}")
        assert caught.value.code is not None
        assert not Item.objects.using(alias).exists()

    @pytest.mark.parametrize(
        ("third", "message"),
        [
            ({"category": "many"}, "Row 3: Field 'category' expected a number but got 'many'."),
            ({"category": [1]}, "Row 3: Field 'category' expected a number but got [1]."),
        ],
    )
    def test_others(self, alias: str, third: dict[str, Any], message: str) -> None:
        with refused() as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with(third))
        assert str(caught.value) == message
        assert not Item.objects.using(alias).exists()

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("small", 32768, "Row 2: 32768 is out of the range of 2 bytes."),
            ("integer", -(2**31) - 1, "Row 2: -2147483649 is out of the range of 4 bytes."),
            ("big", 2**63, "Row 2: 9223372036854775808 is out of the range of 8 bytes."),
            ("text", "a\0b", "Row 2: PostgreSQL text fields cannot contain NUL (0x00) bytes."),
            ("text", "\ud800", "Row 2: 'utf-8' codec can't encode"),
            ("duration", "1 day", "Row 2: 'str' object has no attribute"),
            ("number", Decimal("1E+200000"), "Row 2: "),
        ],
    )
    def test_what_has_no_binary_form(self, db: None, field: str, value: Any, message: str) -> None:
        manager = Everything.objects.using("postgresql")
        with refused() as caught, transaction.atomic("postgresql"):
            bulk_copy(manager, [Everything(), Everything(**{field: value})])
        assert str(caught.value).startswith(message)
        assert not manager.exists()

    @pytest.mark.parametrize(
        "row",
        [
            {"cents": Decimal("1000")},
            {"char": "x" * 51},
            {"json": "\0"},
        ],
    )
    def test_what_the_server_refuses(self, db: None, row: dict[str, Any]) -> None:
        manager = Everything.objects.using("postgresql")
        with pytest.raises(DataError), transaction.atomic("postgresql"):
            manager.create(**row)
        with pytest.raises(DataError, match=r"COPY \S+, line 2"), transaction.atomic("postgresql"):
            bulk_copy(manager, [Everything(), Everything(**row)])
        assert not manager.exists()

    @pytest.mark.parametrize("alias", ["default", "libsql"])
    def test_what_the_driver_refuses(self, db: None, alias: str) -> None:
        manager = Everything.objects.using(alias)
        with pytest.raises(Exception) as saved, transaction.atomic(alias):  # noqa: PT011
            manager.create(big=2**63)
        with pytest.raises(saved.type), transaction.atomic(alias):
            bulk_copy(manager, [Everything(), Everything(big=2**63)])
        assert not manager.exists()

    def test_null(self, alias: str) -> None:
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with({"name": None}))
        assert not Item.objects.using(alias).exists()

    def test_check(self, alias: str) -> None:
        rows = [Everything(positive=1), Everything(positive=-1)]
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Everything.objects.using(alias), rows)
        assert not Everything.objects.using(alias).exists()

    def test_unsaved_related_object(self, alias: str) -> None:
        saved = Document.objects.using(alias).create(embedding=[1, 2, 3])
        chunks = [Chunk(document=saved), Chunk(document=Document())]
        with refused() as caught, transaction.atomic(alias):
            bulk_copy(Chunk.objects.using(alias), chunks)
        assert str(caught.value) == (
            "Row 2: bulk_copy() prohibited to prevent data loss due to unsaved related object "
            "'document'."
        )
        assert not Chunk.objects.using(alias).exists()

    @pytest.mark.parametrize("other", [None, 3, "row", {"name": "x"}, Document(title="x"), Item])
    def test_not_an_instance(self, alias: str, other: Any) -> None:
        with refused() as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), [Item(name="1"), other])
        assert str(caught.value) == f"Row 2: Expected an instance of Item, not {other!r}."

    def test_error_of_the_iterable_is_left_alone(self, alias: str) -> None:
        def rows() -> Iterator[Item]:
            yield Item(name="1")
            raise ValueError("the file ends here")

        with pytest.raises(ValueError, match=r"^the file ends here$"), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), rows())
        assert not Item.objects.using(alias).exists()

    def test_far_down(self, alias: str) -> None:
        rows = (Item(name=f"{n}", embedding=[1, 2] if n == 2500 else None) for n in range(3000))
        with pytest.raises(ValidationError, match="Row 2501: "), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), rows)
        assert not Item.objects.using(alias).exists()

    @pytest.mark.parametrize("make", [list, tuple, np.array, np.float32])
    @pytest.mark.parametrize("number", [1, 32, 33, 1500])
    def test_which_of_many_is_not_finite(self, alias: str, make: Any, number: int) -> None:
        """Also where those before it are NULL, and another one of the row is in order."""

        def rows() -> Iterator[Any]:
            for count in range(1, 2001):
                vector = [float(count), math.inf if count == number else 1.0, 2.0]
                yield Pair(a=make([1.0, 2.0, 3.0]), b=None if count % 7 == 3 else make(vector))

        Pair = PAIRS[3]
        message = f"Row {number}: testapp.Pair3.b: Component 1 is infinite."
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Pair.objects.using(alias), rows())
        assert (caught.value.messages, caught.value.code) == ([message], "infinite")
        assert not Pair.objects.using(alias).exists()

    def test_not_finite_before_rows_of_other_columns(self, alias: str) -> None:
        Pair = PAIRS[3]
        rows = [Pair(a=[math.nan] * 3), Pair(pk=7, a=[1, 2, 3])]
        message = "Row 1: testapp.Pair3.a: Component 0 is NaN."
        with pytest.raises(ValidationError, match=message), transaction.atomic(alias):
            bulk_copy(Pair.objects.using(alias), rows)

    @pytest.mark.parametrize(
        "vector", [np.ones((1, 3), "f4"), np.ones((3, 1), "f4"), [np.ones(3)], [[1, 2, 3]]]
    )
    def test_nested(self, alias: str, vector: Any) -> None:
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with({"embedding": vector}))
        assert caught.value.code in ("nested", "dimensions")
        assert caught.value.messages[0].startswith("Row 3: ")

    def test_multi_table_inheritance(self, alias: str) -> None:
        with refused() as caught:
            bulk_copy(SubItem.objects.using(alias), [])
        assert str(caught.value) == "Can't bulk create a multi-table inherited model"

    @pytest.mark.parametrize("size", [0, -1, 1.5, "10", True])
    def test_batch_size(self, alias: str, size: Any) -> None:
        with refused() as caught:
            bulk_copy(Item.objects.using(alias), [], batch_size=size)
        assert str(caught.value) == f"bulk_copy() takes batch_size of 1 or more, not {size!r}."


@autocommit
@pytest.mark.parametrize("alias", list(django_settings.ENGINES))
class TestTransactions:
    @pytest.fixture(autouse=True)
    def emptied(self, alias: str) -> Iterator[None]:
        yield
        Item.objects.using(alias).all().delete()

    def test_one(self, alias: str) -> None:
        with pytest.raises(ValidationError, match="Row 3: "):
            bulk_copy(Item.objects.using(alias), items_with({"embedding": [1, 2]}))
        assert not Item.objects.using(alias).exists()
        assert bulk_copy(Item.objects.using(alias), items_with({})) == 5
        assert Item.objects.using(alias).count() == 5

    def test_batches_before_an_error_stay(self, alias: str) -> None:
        with pytest.raises(ValidationError, match="Row 3: "):
            bulk_copy(Item.objects.using(alias), items_with({"embedding": [1]}), batch_size=2)
        assert set(Item.objects.using(alias).values_list("name", flat=True)) == {"1", "2"}

    @pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 100])
    def test_every_batch_size(self, alias: str, size: int) -> None:
        assert bulk_copy(Item.objects.using(alias), items_with({}), batch_size=size) == 5
        assert Item.objects.using(alias).count() == 5

    def test_part_of_an_outer_one(self, alias: str) -> None:
        for size in (None, 2):
            with transaction.atomic(alias):
                bulk_copy(Item.objects.using(alias), items_with({}), batch_size=size)
                assert Item.objects.using(alias).count() == 5
                transaction.set_rollback(True, alias)
            assert not Item.objects.using(alias).exists()

    def test_error_spoils_the_outer_one(self, alias: str) -> None:
        with transaction.atomic(alias):
            Item.objects.using(alias).create(name="before")
            with pytest.raises(IntegrityError):
                bulk_copy(Item.objects.using(alias), items_with({"name": None}))
            with pytest.raises(transaction.TransactionManagementError):
                Item.objects.using(alias).exists()
            transaction.set_rollback(True, alias)
        assert not Item.objects.using(alias).exists()

    def test_connection_is_usable_after_an_error(self, alias: str) -> None:
        with transaction.atomic(alias):
            with pytest.raises(IntegrityError), transaction.atomic(alias):
                bulk_copy(Item.objects.using(alias), items_with({"name": None}))
            assert bulk_copy(Item.objects.using(alias), items_with({})) == 5
        assert Item.objects.using(alias).count() == 5

    def test_from_an_iterator_over_the_same_database(self, alias: str) -> None:
        bulk_copy(Item.objects.using(alias), items_with({}))
        for size in (None, 2):
            items = Item.objects.using(alias).order_by("pk").iterator(chunk_size=2)
            rows = (Full(a=item.embedding, group=item.pk) for item in items)
            assert bulk_copy(Full.objects.using(alias), rows, batch_size=size) == 5
        assert Full.objects.using(alias).count() == 10
        Full.objects.using(alias).all().delete()


class TestStreaming:
    def test_queries_while_rows_are_made(self, alias: str, monkeypatch: Any) -> None:
        """Loading starts before the rows end, and does not keep others from asking meanwhile."""
        monkeypatch.setattr(postgresql_copy, "SIZE", 1000)
        counts = []

        def rows() -> Iterator[Item]:
            for number in range(3 * CHUNK):
                if number % 500 == 0:
                    counts.append(Item.objects.using(alias).count())
                yield Item(name=f"{number}")

        assert bulk_copy(Item.objects.using(alias), rows()) == 3 * CHUNK
        assert counts[0] == 0
        assert counts == sorted(counts)
        assert 0 < counts[-1] < 3 * CHUNK

    def test_progress_may_write(self, alias: str) -> None:
        def note(count: int) -> None:
            OnlyKey.objects.using(alias).create()

        rows = (Item(name=f"{n}") for n in range(2500))
        bulk_copy(Item.objects.using(alias), rows, progress=note)
        assert OnlyKey.objects.using(alias).count() == 3

    def test_one_load_inside_another(self, alias: str) -> None:
        def rows() -> Iterator[Full]:
            for item in items_with({}):
                bulk_copy(Item.objects.using(alias), [item], ignore_conflicts=True)
                yield Full(a=item.embedding)

        assert bulk_copy(Full.objects.using(alias), rows(), ignore_conflicts=True) == 5
        assert Item.objects.using(alias).count() == Full.objects.using(alias).count() == 5

    @pytest.mark.parametrize("options", [{}, {"ignore_conflicts": True}, {"batch_size": 900}])
    def test_memory(self, alias: str, options: dict[str, Any]) -> None:
        class Vectors:
            def __init__(self, count: int) -> None:
                self.count = count

            def __iter__(self) -> Iterator[Any]:
                vector = [0.5] * 256
                return (Wide(a=vector, b=vector) for _ in range(self.count))

        Wide = PAIRS[256]
        peaks = []
        for count in (1000, 5000):  # 2 MB, 10 MB
            tracemalloc.start()
            bulk_copy(Wide.objects.using(alias), Vectors(count), **options)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] - peaks[0] < 5_000_000

    def test_rows_are_read_once(self, alias: str) -> None:
        rows = items_with({})
        assert bulk_copy(Item.objects.using(alias), rows) == 5
        assert next(rows, None) is None

    def test_generator_of_instances_that_is_read_in_its_order(self, alias: str) -> None:
        bulk_copy(Item.objects.using(alias), (Item(name=f"{n:04}") for n in range(2100)))
        names = list(Item.objects.using(alias).order_by("pk").values_list("name", flat=True))
        assert names == sorted(names)

    @pytest.mark.parametrize("make", [list, np.array, lambda numbers: array("f", numbers)])
    def test_one_buffer_for_all_vectors(self, alias: str, make: Any) -> None:
        """A row is taken as it is when it is read, whatever becomes of it afterwards."""
        buffer = make([0.0] * 256)

        def rows() -> Iterator[Pair]:
            for number in range(100):
                for place in range(256):
                    buffer[place] = number + place
                yield Pair(a=buffer, b=buffer)

        Pair = PAIRS[256]
        bulk_copy(Pair.objects.using(alias), rows())
        found = Pair.objects.using(alias).order_by("pk").values_list("a", "b")
        expected = [[number + place for place in range(256)] for number in range(100)]
        assert [(a, b) for a, b in found] == [(row, row) for row in expected]


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


class TestProgress:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (0, [0]),
            (5, [5]),
            (CHUNK, [CHUNK]),
            (2 * CHUNK + 1, [CHUNK, 2 * CHUNK, 2 * CHUNK + 1]),
        ],
    )
    def test_calls(self, alias: str, rows: int, expected: list[int]) -> None:
        calls: list[int] = []
        objects = (Item(name=f"{n}") for n in range(rows))
        assert bulk_copy(Item.objects.using(alias), objects, progress=calls.append) == rows
        assert calls == expected

    def test_batches_count_on(self, alias: str) -> None:
        calls: list[int] = []
        rows = (Item(name=f"{n}") for n in range(CHUNK + 5))
        bulk_copy(Item.objects.using(alias), rows, progress=calls.append, batch_size=300)
        assert calls == [CHUNK, CHUNK + 5]

    def test_its_error_ends_the_load(self, alias: str) -> None:
        def stop(count: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), transaction.atomic(alias):
            bulk_copy(Item.objects.using(alias), items_with({}), progress=stop)
        assert not Item.objects.using(alias).exists()


class TestFallback:
    def warning(self, load: Callable[[], int]) -> str:
        with pytest.warns(RuntimeWarning) as caught:
            load()
        (warning,) = caught
        assert warning.filename == __file__
        return str(warning.message)

    def test_arrays(self, db: None) -> None:
        manager = Arrays.objects.using("postgresql")
        rows = [Arrays(vectors=[[1, 2, 3]] * n, bits=None) for n in range(1, 4)]
        message = self.warning(lambda: bulk_copy(manager, rows, batch_size=2))
        assert message == (
            "bulk_copy() inserts as bulk_create() does: no binary form is known of "
            "testapp.Arrays.vectors (ArrayField)."
        )
        found = manager.order_by("pk").values_list("vectors", "halves")
        assert list(found) == [([[1, 2, 3]] * n, None) for n in range(1, 4)]

    def test_error_names_the_row(self, db: None) -> None:
        manager = Arrays.objects.using("postgresql")
        rows = [Arrays(), Arrays(vectors=[[1, 2, 3], [1]])]
        with pytest.warns(RuntimeWarning), pytest.raises(ValidationError) as caught:
            bulk_copy(manager, rows)
        message = "Row 2: testapp.Arrays.vectors: Expected 3 dimensions, not 1."
        assert caught.value.messages == [message]

    def test_progress_and_chunks(self, db: None) -> None:
        calls: list[int] = []
        rows = (Arrays() for _ in range(CHUNK + 1))
        with pytest.warns(RuntimeWarning):
            assert (
                bulk_copy(Arrays.objects.using("postgresql"), rows, progress=calls.append) == 1001
            )
        assert calls == [CHUNK, CHUNK + 1]
        assert Arrays.objects.using("postgresql").count() == CHUNK + 1

    def test_field_with_sql_of_its_own(self, alias: str) -> None:
        manager = Shout.objects.using(alias)
        message = self.warning(lambda: bulk_copy(manager, [Shout(text="hello")]))
        assert message == (
            "bulk_copy() inserts as bulk_create() does: testapp.Shout.text (UpperField) is written "
            "by SQL of its own."
        )
        assert manager.get().text == "HELLO"

    def test_vector_that_is_prepared_otherwise(self, alias: str) -> None:
        manager = Halved.objects.using(alias)
        rows = [Halved(vector=[2, 4, 6])]
        if alias == "postgresql":
            message = self.warning(lambda: bulk_copy(manager, rows))
            assert message.endswith("of testapp.Halved.vector (HalvingField).")
        else:
            bulk_copy(manager, rows)
        assert manager.get().vector == [1, 2, 3]

    def test_rows_in_order(self, alias: str) -> None:
        document = Document.objects.using(alias).create(embedding=[1, 2, 3])
        rows = [Ordered(document=document) for _ in range(3)]
        manager = Ordered.objects.using(alias)
        other = Document.objects.using(alias).create(embedding=[1, 2, 3])
        bulk_copy(manager, rows)
        more = [Ordered(document=parent) for parent in (other, document, other, document)]
        bulk_copy(manager, iter(more), batch_size=2)
        orders = manager.order_by("pk").values_list("_order", flat=True)
        assert list(orders) == [0, 1, 2, 0, 3, 1, 4]
        given = Ordered(document=document)
        given._order = 9
        bulk_copy(manager, [given, Ordered(document=document)])
        assert list(manager.order_by("-pk").values_list("_order", flat=True)[:2]) == [5, 9]
        assert Ordered(document=other).save(using=alias) is None
        assert manager.latest("pk")._order == 2


@on_postgresql
class TestRebuildIndexes:
    def definitions(self, table: str) -> dict[str, str]:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", [table]
            )
            return dict(cursor.fetchall())

    def shown(self, name: str) -> str:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute(f"SHOW {name}")
            return str(cursor.fetchone()[0])

    def rows(self, count: int = 300) -> Iterator[Indexed]:
        vectors = np.random.default_rng(3).normal(size=(count, 8))
        return (Indexed(category=n, embedding=vector) for n, vector in enumerate(vectors))

    def test_indexes_are_gone_and_come_back(self) -> None:
        before = self.definitions("testapp_indexed")
        assert len(before) == 4
        meanwhile = []

        def rows() -> Iterator[Indexed]:
            meanwhile.extend(self.definitions("testapp_indexed"))
            yield from self.rows()

        manager = Indexed.objects.using("postgresql")
        with warnings.catch_warnings():  # IVFFlat's notice of few rows is none of Python's
            assert bulk_copy(manager, rows(), rebuild_indexes=True) == 300
        assert meanwhile == ["testapp_indexed_pkey"]
        assert self.definitions("testapp_indexed") == before
        query = manager.first().embedding
        with forced("postgresql"):
            search = nearest(manager, "embedding", query, k=5, metric="l2")
            assert explain_nearest(search).index == "indexed_l2"
            assert len(search) == 5

    def test_settings(self) -> None:
        settings = ("maintenance_work_mem", "max_parallel_maintenance_workers")
        before = [self.shown(name) for name in settings]
        with CaptureQueriesContext(connections["postgresql"]) as captured:
            bulk_copy(
                Indexed.objects.using("postgresql"),
                self.rows(),
                rebuild_indexes=True,
                maintenance_work_mem="77MB",
                workers=0,
            )
        sent = [query["sql"] for query in captured]
        first = next(place for place, sql in enumerate(sent) if sql.startswith("CREATE INDEX"))
        assert "SET LOCAL maintenance_work_mem = '77MB'" in sent[:first]
        assert "SET LOCAL max_parallel_maintenance_workers = '0'" in sent[:first]
        assert [self.shown(name) for name in settings] == before
        assert before[0] != "77MB"

    def test_after_an_error(self) -> None:
        before = self.definitions("testapp_indexed")
        rows = [Indexed(category=1, embedding=[1])]
        with pytest.raises(ValidationError), transaction.atomic("postgresql"):
            bulk_copy(Indexed.objects.using("postgresql"), rows, rebuild_indexes=True)
        assert self.definitions("testapp_indexed") == before

    @pytest.mark.parametrize("model", [Passage, PassageProxy])
    def test_with_foreign_keys_that_are_checked_at_the_end(self, model: Any) -> None:
        document = Document.objects.using("postgresql").create(embedding=[1, 2, 3])
        before = self.definitions("testapp_passage")
        meanwhile = []

        def rows() -> Iterator[Any]:
            meanwhile.extend(self.definitions("testapp_passage"))
            yield from (model(document=document, embedding=[n, 1, 1]) for n in range(50))

        bulk_copy(model.objects.using("postgresql"), rows(), rebuild_indexes=True)
        assert "testapp_passage_embedding" not in meanwhile
        assert self.definitions("testapp_passage") == before

    def test_index_that_is_not_there(self) -> None:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("DROP INDEX indexed_ip")
        before = self.definitions("testapp_indexed")
        bulk_copy(Indexed.objects.using("postgresql"), self.rows(), rebuild_indexes=True)
        assert self.definitions("testapp_indexed") == before

    def test_other_databases_keep_theirs(self, alias: str) -> None:
        rows = [Portable(category=n, embedding=[n] * 8) for n in range(1, 20)]
        manager = Portable.objects.using(alias)
        bulk_copy(manager, rows, rebuild_indexes=True, maintenance_work_mem="64MB", workers=1)
        found = nearest(manager, "embedding", [3] * 8, k=3, metric="l2")
        assert {row.category for row in found} == {2, 3, 4}

    def test_batches(self, alias: str) -> None:
        with refused() as caught:
            bulk_copy(Portable.objects.using(alias), [], rebuild_indexes=True, batch_size=10)
        assert str(caught.value) == (
            "bulk_copy() rebuilds indexes in one transaction: leave out batch_size."
        )

    @pytest.mark.parametrize("option", [{"workers": 2}, {"maintenance_work_mem": "1GB"}])
    def test_settings_alone(self, alias: str, option: dict[str, Any]) -> None:
        with refused() as caught:
            bulk_copy(Portable.objects.using(alias), [], **option)
        assert str(caught.value) == (
            "bulk_copy() takes maintenance_work_mem and workers with rebuild_indexes=True only."
        )


class ToPostgreSQL:
    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "postgresql"


class TestWhereTo:
    def test_model(self, db: None) -> None:
        bulk_copy(Item, [Item(name="one")])
        assert Item.objects.using("default").count() == 1

    def test_manager_and_queryset(self, alias: str) -> None:
        bulk_copy(Item.objects.db_manager(alias), [Item(name="one")])
        bulk_copy(Item.objects.using(alias), [Item(name="two")])
        bulk_copy(Item.objects.using(alias).filter(name="none"), [Item(name="three")])
        assert Item.objects.using(alias).count() == 3

    def test_router(self, db: None, settings: Any) -> None:
        settings.DATABASE_ROUTERS = [ToPostgreSQL()]
        for place in (Item, Item.objects, Item.objects.all()):
            bulk_copy(place, [Item(name=f"{place}")])
        assert Item.objects.using("postgresql").count() == 3
        assert not Item.objects.using("default").exists()

    def test_method(self, alias: str) -> None:
        queryset = VectorQuerySet(Item, using=alias)
        assert queryset.bulk_copy([Item(name="one")], progress=print) == 1
        manager = VectorQuerySet.as_manager()
        manager.model = Item
        assert manager.using(alias).bulk_copy(iter([Item(name="two")])) == 1
        assert Item.objects.using(alias).count() == 2

    def test_related_manager(self, alias: str) -> None:
        document = Document.objects.using(alias).create(embedding=[1, 2, 3])
        bulk_copy(document.chunks, [Chunk(document=document)])
        assert document.chunks.count() == 1

    def test_proxy(self, alias: str) -> None:
        bulk_copy(ItemProxy.objects.using(alias), [ItemProxy(name="one"), Item(name="two")])
        bulk_copy(Item.objects.using(alias), [ItemProxy(name="three")])
        assert Item.objects.using(alias).count() == 3

    def test_odd_names(self, alias: str) -> None:
        manager = Odd.objects.using(alias)
        bulk_copy(manager, [Odd(name="one", vector=[1, 2, 3]), Odd(name="two")])
        bulk_copy(manager, [Odd(name="one"), Odd(name="three")], ignore_conflicts=True)
        bulk_copy(
            manager,
            [Odd(name="two", vector=[3, 2, 1])],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["vector"],
        )
        found = dict(manager.values_list("name", "vector"))
        assert found == {"one": [1, 2, 3], "two": [3, 2, 1], "three": None}

    @pytest.mark.parametrize("options", [{}, {"batch_size": 5}, {"ignore_conflicts": True}])
    def test_nothing(self, alias: str, options: dict[str, Any]) -> None:
        for nothing in ([], (), iter(()), Item.objects.using(alias).none()):
            assert bulk_copy(Item.objects.using(alias), nothing, **options) == 0

    def test_no_signals(self, alias: str) -> None:
        sent: list[Any] = []

        def note(sender: Any, **kwargs: Any) -> None:
            sent.append(sender)

        for signal in (pre_save, post_save):
            signal.connect(note, sender=Item)
        try:
            bulk_copy(Item.objects.using(alias), items_with({}))
        finally:
            for signal in (pre_save, post_save):
                signal.disconnect(note, sender=Item)
        assert sent == []

    def test_statements(self, alias: str) -> None:
        with CaptureQueriesContext(connections[alias]) as captured:
            bulk_copy(Item.objects.using(alias), items_with({}))
        if alias == "postgresql":
            (query,) = (query["sql"] for query in captured)
            assert query.startswith('COPY "testapp_item" ("name", ')
        else:
            assert len([q for q in captured if "INSERT INTO" in q["sql"]]) == 1

    @pytest.mark.parametrize("binding", [True, False])
    def test_server_side_binding(
        self, open_database: Any, django_db_setup: None, binding: bool
    ) -> None:
        open_database("postgresql", OPTIONS={"server_side_binding": binding})
        with transaction.atomic("scratch"):
            rows = [Item(name=f"ä {binding}", embedding=[1, 2, 3]), Item(name=Lower(Value("B")))]
            bulk_copy(Item.objects.using("scratch"), rows)
            bulk_copy(Item.objects.using("scratch"), rows[:1], ignore_conflicts=True)
            assert Item.objects.using("scratch").count() == 2
            transaction.set_rollback(True, "scratch")
