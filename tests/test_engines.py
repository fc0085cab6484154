"""Which engine a connection gets, and what an unsupported database says."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError, connection, connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.test.utils import isolate_apps

from dorm_vector import L2Distance, SparseVectorField, VectorField, engine_for, models
from dorm_vector.engines import engines_of
from dorm_vector.engines.base import Engine
from dorm_vector.engines.postgresql import PostgreSQLEngine
from dorm_vector.engines.sqlite import SQLiteEngine
from dorm_vector.sql import SQL, Operand, fill
from tests.testapp.models import Item


class CustomEngine(SQLiteEngine):
    """An engine of a third party."""

    name = "custom"
    distances = {**SQLiteEngine.distances, "l2": "(2 * vec_distance_l2({a}, {b}))"}


def wrapper(cls: type[DatabaseWrapper] = DatabaseWrapper, alias: str = "other") -> DatabaseWrapper:
    return cls(connections["default"].settings_dict, alias=alias)


class TestDetection:
    @pytest.mark.parametrize(
        ("alias", "engine"), [("default", SQLiteEngine), ("postgresql", PostgreSQLEngine)]
    )
    def test_by_vendor(self, alias: str, engine: type[Engine]) -> None:
        assert type(engine_for(connections[alias])) is engine

    def test_once_for_each_connection(self) -> None:
        assert engine_for(connections["default"]) is engine_for(connections["default"])
        assert engine_for(connection) is engine_for(connections["default"])
        assert engine_for(wrapper()) is not engine_for(connections["default"])

    def test_threads_have_their_own(self) -> None:
        found = []
        thread = threading.Thread(target=lambda: found.append(engine_for(connections["default"])))
        thread.start()
        thread.join()
        assert found[0] is not engine_for(connections["default"])

    @pytest.mark.parametrize("named", ["unsupported", "dorm_vector.engines.base.Engine"])
    def test_by_setting(self, settings: Any, named: str) -> None:
        settings.DORM_VECTOR = {"ENGINES": {"default": named}}
        assert type(engine_for(connections["default"])) is Engine
        assert type(engine_for(connections["postgresql"])) is PostgreSQLEngine

    def test_a_third_partys_engine(self, settings: Any, db: None) -> None:
        Item.objects.create(name="one", embedding=[1, 2, 3])
        settings.DORM_VECTOR = {"ENGINES": {"default": "tests.test_engines.CustomEngine"}}
        found = Item.objects.annotate(d=L2Distance("embedding", [1, 2, 4])).get()
        assert found.d == pytest.approx(2.0)

    @pytest.mark.parametrize("named", ["nonsense", "tests.nowhere.Engine", "tests.models.Nothing"])
    def test_wrong_setting(self, settings: Any, named: str) -> None:
        settings.DORM_VECTOR = {"ENGINES": {"default": named}}
        with pytest.raises(ImproperlyConfigured) as caught:
            engine_for(connections["default"])
        assert str(caught.value) == (
            f"{named!r} is not a vector engine for the database 'default'; use one of "
            "'postgresql', "
            "'libsql', 'sqlite', 'unsupported' or the dotted path of a class."
        )

    def test_by_attribute_of_the_backend(self) -> None:
        class Wrapper(DatabaseWrapper):
            vector_engine = "tests.test_engines.CustomEngine"

        assert type(engine_for(wrapper(Wrapper))) is CustomEngine

    def test_the_setting_comes_before_the_attribute(self, settings: Any) -> None:
        class Wrapper(DatabaseWrapper):
            vector_engine = "tests.test_engines.CustomEngine"

        settings.DORM_VECTOR = {"ENGINES": {"other": "sqlite"}}
        assert type(engine_for(wrapper(Wrapper))) is SQLiteEngine

    def test_backends_derived_from_djangos(self) -> None:
        class Wrapper(DatabaseWrapper):
            pass

        assert type(engine_for(wrapper(Wrapper))) is SQLiteEngine

    def test_other_vendors(self) -> None:
        class Wrapper(DatabaseWrapper):
            vendor = "mysql"
            display_name = "MySQL"

        assert type(engine_for(wrapper(Wrapper))) is Engine

    def test_no_sql_is_sent(self) -> None:
        fresh = wrapper()
        engine_for(fresh)
        assert fresh.connection is None


class TestUnsupported:
    @pytest.fixture
    def unsupported(self, settings: Any) -> None:
        settings.DORM_VECTOR = {"ENGINES": {"default": "unsupported"}}

    def test_columns(self, unsupported: None) -> None:
        with pytest.raises(NotSupportedError) as caught:
            VectorField(3).db_type(connections["default"])
        assert str(caught.value) == (
            "The database 'default' (SQLite) has no column type for vectors that dorm_vector "
            "knows; see DORM_VECTOR['ENGINES']."
        )

    def test_distances(self, unsupported: None) -> None:
        with pytest.raises(NotSupportedError, match=r"^SQLite has no l2 distance\.$"):
            str(Item.objects.annotate(d=L2Distance("embedding", [1, 2, 3])).query)

    def test_the_sentence_says_what_to_use_instead(self) -> None:
        class Poor(SQLiteEngine):
            distances = {}
            alternatives = {"l1": "Use L2Distance."}

        with pytest.raises(
            NotSupportedError, match=r"^SQLite has no l1 distance. Use L2Distance\.$"
        ):
            Poor(connections["default"]).distance("l1", Operand("a"), Operand("b"))


class TestFill:
    def test_parameters_follow_their_places(self) -> None:
        filled = fill("f({b}, {a}, {b})", a=SQL("%s", (1,)), b=SQL("g(%s, %s)", (2, 3)))
        assert filled == SQL("f(g(%s, %s), %s, g(%s, %s))", (2, 3, 1, 2, 3))

    def test_braces_in_the_sql_are_left_alone(self) -> None:
        assert fill("({a})", a=SQL("'{b}'")) == SQL("('{b}')", ())


def test_models_that_require_a_database() -> None:
    """Other databases have no table of theirs, and nothing to say about them."""
    with isolate_apps("tests.testapp"):

        class Sparse(models.Model):
            weights = SparseVectorField(5)

            class Meta:
                app_label = "testapp"
                required_db_vendor = "postgresql"

        assert [alias for alias, _ in engines_of(Sparse)] == ["postgresql"]
        assert Sparse.check() == []
