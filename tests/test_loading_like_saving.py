"""Where bulk_copy() could differ from bulk_create() and save(), other than in the values."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import tracemalloc
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, models, transaction
from django.db.models import Value
from django.db.models.functions import Lower
from django.test.utils import isolate_apps

from dorm_vector import bulk_copy
from dorm_vector import models as vector_models
from dorm_vector.engines.postgresql.dumpers import dumper
from tests.testapp.models import PAIRS, Composite, Everything, Full, Item, Owner, Stamped, TextKey

ALIASES = list(django_settings.ENGINES)


class CountingField(models.IntegerField):
    """Counts how often a value is asked for, and does not keep it on the object."""

    calls = 0

    def pre_save(self, model_instance: Any, add: bool) -> int:
        CountingField.calls += 1
        return super().pre_save(model_instance, add) or CountingField.calls


@contextlib.contextmanager
def table(alias: str, **fields: Any) -> Iterator[Any]:
    """A model of these fields, with a table."""
    options = {"app_label": "dorm_vector", "db_table": "made here", **fields.pop("options", {})}
    attributes = {"__module__": __name__, "Meta": type("Meta", (), options), **fields}
    with isolate_apps("dorm_vector"):
        model: Any = type("Made", (models.Model,), attributes)
    with connections[alias].schema_editor() as editor:
        editor.create_model(model)
    try:
        yield model
    finally:
        with connections[alias].schema_editor() as editor:
            editor.delete_model(model)


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("alias", ALIASES)
class TestPreSave:
    def test_once_for_each_value(self, alias: str) -> None:
        with table(alias, n=CountingField(null=True), text=models.TextField()) as model:
            for text in ("plain", Lower(Value("EXPRESSION"))):
                CountingField.calls = 0
                bulk_copy(model.objects.using(alias), [model(text=text) for _ in range(3)])
                assert CountingField.calls == 3
                found = model.objects.using(alias).order_by("n").values_list("n", flat=True)
                assert list(found) == [1, 2, 3]
                model.objects.using(alias).all().delete()

    def test_odd_names(self, alias: str) -> None:
        """All but percent signs, with which Django itself saves no rows."""
        fields = {
            "one": models.IntegerField(db_column="it's; one"),
            "vector": vector_models.VectorField(2, db_column="{v}?"),
            "options": {"db_table": "--it's :a"},
        }
        with table(alias, **fields) as model:
            manager = model.objects.using(alias)
            model(one=1, vector=[1, 2]).save(using=alias)
            bulk_copy(manager, [model(one=2, vector=[3, 4])])
            found = manager.order_by("one").values_list("one", "vector")
            assert list(found) == [(1, [1, 2]), (2, [3, 4])]


class TestObjects:
    """What an object knows of itself after a load, as after bulk_create()."""

    @pytest.mark.parametrize("text", ["plain", Lower(Value("EXPRESSION"))])
    def test_with_a_key(self, alias: str, text: Any) -> None:
        rows = [Owner(name=text), Owner(name=text)]
        bulk_copy(Owner.objects.using(alias), rows)
        assert [(row._state.adding, row._state.db) for row in rows] == [(False, alias)] * 2
        rows[0].name = "changed"
        rows[0].save()
        assert Owner.objects.using(alias).get(pk=rows[0].pk).name == "changed"
        assert Owner.objects.using(alias).count() == 2

    @pytest.mark.parametrize(
        "make",
        [lambda: TextKey(name="a"), lambda: Composite(tenant=1, number=2), lambda: Item(pk=9)],
    )
    @pytest.mark.parametrize("options", [{}, {"ignore_conflicts": True}])
    def test_as_bulk_create(self, alias: str, make: Any, options: dict[str, Any]) -> None:
        ours, theirs = make(), make()
        manager = type(ours).objects.using(alias)
        manager.bulk_create([theirs], **options)
        manager.all().delete()
        bulk_copy(manager, [ours], **options)
        assert (ours._state.adding, ours._state.db) == (theirs._state.adding, theirs._state.db)

    def test_without_a_key(self, alias: str) -> None:
        item = Item(name="new")
        bulk_copy(Item.objects.using(alias), [item])
        assert (item.pk, item._state.adding, item._state.db) == (None, True, None)

    def test_that_was_refused(self, alias: str) -> None:
        rows = [Owner(), Owner(name=None)]  # type: ignore[misc]
        with pytest.raises(IntegrityError), transaction.atomic(alias):
            bulk_copy(Owner.objects.using(alias), rows)
        assert [row._state.adding for row in rows] == [True, True]

    def test_times_are_on_the_object(self, alias: str) -> None:
        row = Stamped()
        bulk_copy(Stamped.objects.using(alias), [row])
        found = Stamped.objects.using(alias).get()
        assert (row.created, row.changed) == (found.created, found.changed)


class TestNumbers:
    @pytest.mark.parametrize("binding", [True, False])
    def test_negative_zero(self, open_database: Any, django_db_setup: None, binding: bool) -> None:
        """As the binding of parameters writes it, which loses the sign on the client's side."""
        open_database("postgresql", OPTIONS={"server_side_binding": binding})
        with transaction.atomic("scratch"):
            manager = Everything.objects.using("scratch")
            for number in (-0.0, 0.0, -1.5):
                Everything(real=number, text="saved").save(using="scratch")
                bulk_copy(manager, [Everything(real=number, text="copied")])
            with connections["scratch"].cursor() as cursor:
                cursor.execute("SELECT text, real::text FROM testapp_everything ORDER BY id")
                found = cursor.fetchall()
            transaction.set_rollback(True, "scratch")
        saved, copied = ([shown for text, shown in found if text == t] for t in ("saved", "copied"))
        assert copied == saved

    def test_negative_zero_of_each_engine(self, alias: str) -> None:
        manager = Everything.objects.using(alias)
        Everything(real=-0.0).save(using=alias)
        bulk_copy(manager, [Everything(real=-0.0)])
        first, second = (str(row.real) for row in manager.order_by("pk"))
        assert first == second


@pytest.mark.django_db(databases="__all__")
class TestBinaryForms:
    """Byte by byte, what COPY is sent is what PostgreSQL itself sends of a value that was saved."""

    VALUES: ClassVar[dict[str, list[Any]]] = {
        "small": [0, -1, 32767, -32768],
        "integer": [2**31 - 1, -(2**31)],
        "big": [2**63 - 1, -(2**63)],
        "number": [
            Decimal(text).quantize(Decimal("1E-8"))  # as many places as the column has
            for text in ("0", "1E-8", "-12345.678", "10000", "9999.9999", "1E+15")
        ],
        "real": [0.0, 0.1, 5e-324, -1.5],
        "flag": [True, False],
        "text": ["", "ä€𝄞", "x" * 5000],
        "date": [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)],
        "moment": [datetime.datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=datetime.UTC)],
        "time": [datetime.time(23, 59, 59, 999999)],
        "duration": [datetime.timedelta(days=-3, seconds=5, microseconds=7)],
        "key": [uuid.UUID(int=7)],
        "binary": [b"", b"\0\xff"],
        "json": [None, {"a": [1.5, "u"]}],
        "address": ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"],
        "vector": [[1, -0.0, 1e-45]],
        "half": [[65504, -6e-8, 0.1]],
        "bits": ["1010101011"],
    }
    SENDS: ClassVar[dict[str, str]] = {
        "small": "int2send",
        "integer": "int4send",
        "big": "int8send",
        "number": "numeric_send",
        "real": "float8send",
        "flag": "boolsend",
        "text": "textsend",
        "date": "date_send",
        "moment": "timestamptz_send",
        "time": "time_send",
        "duration": "interval_send",
        "key": "uuid_send",
        "binary": "byteasend",
        "json": "jsonb_send",
        "address": "inet_send",
        "vector": "vector_send",
        "half": "halfvec_send",
        "bits": "bit_send",
    }

    @pytest.mark.parametrize("name", VALUES)
    def test_is_what_the_server_sends(self, name: str) -> None:
        connection = connections["postgresql"]
        dump = dumper(Everything._meta.get_field(name), connection)
        assert dump is not None
        for value in self.VALUES[name]:
            row = Everything(**{name: value})
            row.save(using="postgresql")
            with connection.cursor() as cursor:
                cursor.execute(
                    f'SELECT {self.SENDS[name]}("{name}") FROM testapp_everything WHERE id = %s',
                    [row.pk],
                )
                (sent,) = cursor.fetchone()
            expected = b"\xff" * 4 if sent is None else len(sent).to_bytes(4) + bytes(sent)
            assert bytes(dump(value)) == expected


class TestRoom:
    @pytest.mark.parametrize(
        "make",
        [
            lambda n: PAIRS[1](a=[1.0], b=[2.0]),
            lambda n: Full(a=[1, 2, 3], group=n),
            lambda n: Everything(small=n % 100, text="x"),
        ],
        ids=["two short vectors", "one", "35 columns"],
    )
    def test_of_short_rows(self, alias: str, make: Any) -> None:
        manager = type(make(0)).objects.using(alias)
        bulk_copy(manager, [make(0)])
        tracemalloc.start()
        bulk_copy(manager, (make(n) for n in range(20_000)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8_000_000


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestConnections:
    def test_async(self) -> None:
        """In a thread, with its own connection."""

        def load() -> int:
            rows = [Item(name=f"{n}", embedding=[n, 1, 1]) for n in range(10)]
            try:
                return bulk_copy(Item.objects.using("postgresql"), rows)
            finally:
                connections["postgresql"].close()

        assert asyncio.run(sync_to_async(load)()) == 10
        assert Item.objects.using("postgresql").count() == 10

    def test_pool(self, open_database: Any, django_db_setup: None) -> None:
        connection = open_database("postgresql", OPTIONS={"pool": {"min_size": 1, "max_size": 1}})
        manager = Item.objects.using("scratch")
        assert bulk_copy(manager, [Item(name="1", embedding=[1, 2, 3])], rebuild_indexes=True) == 1
        with pytest.raises(ValidationError):
            bulk_copy(manager, [Item(name="2"), Item(name="3", embedding=[1])])
        connection.close()
        assert bulk_copy(manager, [Item(name="4")], ignore_conflicts=True) == 1
        assert set(manager.values_list("name", flat=True)) == {"1", "4"}
        manager.all().delete()

    @pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
    def test_encoding_of_the_client(
        self, open_database: Any, django_db_setup: None, encoding: str
    ) -> None:
        open_database("postgresql", OPTIONS={"client_encoding": encoding})
        with transaction.atomic("scratch"):
            manager = Everything.objects.using("scratch")
            value = {"text": "ä é", "char": "ß", "json": {"ü": "ö"}}
            Everything(**value).save(using="scratch")
            bulk_copy(manager, [Everything(**value)])
            saved, copied = manager.order_by("pk").values("text", "char", "json")
            assert saved == copied == value
            transaction.set_rollback(True, "scratch")

    def test_connection_that_was_closed(self, open_database: Any, django_db_setup: None) -> None:
        open_database("postgresql").close()
        with transaction.atomic("scratch"):
            assert bulk_copy(Item.objects.using("scratch"), [Item(name="1")]) == 1
            transaction.set_rollback(True, "scratch")
