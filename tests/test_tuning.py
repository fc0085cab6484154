"""search_params on every engine; its settings are read back from PostgreSQL."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction

from dorm_vector.search.settings import search_params
from tests.support.postgres import shown
from tests.testapp.models import Item

NAMES = {
    "ef_search": ("hnsw.ef_search", 100),
    "probes": ("ivfflat.probes", 7),
    "iterative_scan": ("hnsw.iterative_scan", "relaxed_order"),
    "max_scan_tuples": ("hnsw.max_scan_tuples", 30_000),
    "scan_mem_multiplier": ("hnsw.scan_mem_multiplier", 1.5),
}


@pytest.mark.django_db(databases=["postgresql"], transaction=True)
class TestPostgreSQL:
    @pytest.fixture
    def opened(self) -> Any:
        connection = connections["postgresql"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT '[1]'::vector")  # loads the library, which knows its defaults
        return connection

    def ef(self) -> str | None:
        return shown(connections["postgresql"], "hnsw.ef_search")

    @pytest.mark.parametrize("name", NAMES)
    def test_set_inside_and_restored_after(self, opened: Any, name: str) -> None:
        setting, value = NAMES[name]
        before = shown(opened, setting)
        with search_params("postgresql", **{name: value}):
            assert shown(opened, setting) == str(value)
        assert shown(opened, setting) == before != str(value)

    def test_several_at_once(self, opened: Any) -> None:
        with search_params("postgresql", ef_search=90, iterative_scan="off"):
            assert self.ef() == "90"
            assert shown(opened) == "off"
            assert shown(opened, "ivfflat.iterative_scan") == "off"
        assert shown(opened) == "strict_order"

    def test_before_the_library_is_loaded(self, scratch: Any) -> None:
        connection = scratch()
        with search_params("scratch", ef_search=90):
            assert shown(connection, "hnsw.ef_search") == "90"
        assert shown(connection, "hnsw.ef_search") in (None, "40")

    def test_inside_an_open_transaction(self, opened: Any) -> None:
        with transaction.atomic(using="postgresql"):
            with opened.cursor() as cursor:
                cursor.execute("SET LOCAL hnsw.ef_search = 50")
            with search_params("postgresql", ef_search=90):
                assert self.ef() == "90"
            assert self.ef() == "50"
        assert self.ef() == "40"

    def test_nested(self, opened: Any) -> None:
        with search_params("postgresql", ef_search=90, probes=3):
            with search_params("postgresql", ef_search=91):
                assert (self.ef(), shown(opened, "ivfflat.probes")) == ("91", "3")
            assert self.ef() == "90"
        assert self.ef() == "40"

    def test_one_object_nested_in_itself(self, opened: Any) -> None:
        params = search_params("postgresql", ef_search=90)
        with params, params:
            assert self.ef() == "90"
        assert self.ef() == "40"

    @pytest.mark.parametrize("outer", [True, False])
    def test_after_an_exception(self, opened: Any, outer: bool) -> None:
        def fail() -> None:
            with search_params("postgresql", ef_search=90):
                raise ZeroDivisionError

        if outer:
            with transaction.atomic(using="postgresql"):
                with pytest.raises(ZeroDivisionError):
                    fail()
                assert self.ef() == "40"
        else:
            with pytest.raises(ZeroDivisionError):
                fail()
        assert self.ef() == "40"

    def test_after_a_database_error(self, opened: Any) -> None:
        def fail() -> None:
            with search_params("postgresql", ef_search=90):
                Item.objects.using("postgresql").create(name=None)

        with transaction.atomic(using="postgresql"):
            with pytest.raises(IntegrityError):
                fail()
            assert self.ef() == "40"
            assert Item.objects.using("postgresql").count() == 0

    def test_a_transaction_that_is_marked_for_rollback(self, opened: Any) -> None:
        with transaction.atomic(using="postgresql"):
            with search_params("postgresql", ef_search=90):
                transaction.set_rollback(True, using="postgresql")
            assert self.ef() == "40"

    def test_without_autocommit(self, scratch: Any) -> None:
        connection = scratch(AUTOCOMMIT=False)
        with search_params("scratch", ef_search=90):
            assert shown(connection, "hnsw.ef_search") == "90"
        assert shown(connection, "hnsw.ef_search") in (None, "40")
        connection.rollback()

    def test_on_a_pooled_connection(self, scratch: Any) -> None:
        connection = scratch(OPTIONS={"pool": {"min_size": 1, "max_size": 1}})
        with search_params("scratch", ef_search=90):
            assert shown(connection, "hnsw.ef_search") == "90"
        connection.close()
        assert shown(connection, "hnsw.ef_search") in (None, "40")

    def test_as_a_decorator(self, opened: Any) -> None:
        @search_params("postgresql", ef_search=90)
        def search(deeper: bool) -> list[str | None]:
            return [self.ef(), *(search(False) if deeper else ())]

        assert search(True) == ["90", "90"]
        assert self.ef() == "40"


class TestElsewhere:
    def test_harmless_on_sqlite(self, db: None, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0), search_params(ef_search=90, probes=3):
            pass

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"ef_search": 0}, "ef_search takes 1 to 1000, not 0."),
            ({"ef_search": 1001}, "ef_search takes 1 to 1000, not 1001."),
            ({"ef_search": 10.0}, "ef_search takes 1 to 1000, not 10.0."),
            ({"ef_search": "90; DROP"}, "ef_search takes 1 to 1000, not '90; DROP'."),
            ({"ef_search": True}, "ef_search takes 1 to 1000, not True."),
            ({"probes": 32769}, "probes takes 1 to 32768, not 32769."),
            ({"max_scan_tuples": 0}, "max_scan_tuples takes 1 to 2147483647, not 0."),
            ({"scan_mem_multiplier": 0.5}, "scan_mem_multiplier takes 1 to 1000, not 0.5."),
            (
                {"iterative_scan": "on"},
                "iterative_scan takes one of 'off', 'relaxed_order', 'strict_order', not 'on'.",
            ),
        ],
    )
    def test_refused_before_sql(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            search_params(**given)

    def test_unknown_names(self) -> None:
        with pytest.raises(TypeError, match="efsearch"):
            search_params(efsearch=1)  # type: ignore[call-arg]
