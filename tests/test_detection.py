"""Which engine the backends of other packages get, by their own classes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.utils import load_backend
from psycopg.rows import tuple_row

from dorm_vector import engine_for
from dorm_vector.engines.base import Engine
from dorm_vector.engines.libsql import LibSQLEngine
from dorm_vector.engines.postgresql import PostgreSQLEngine
from dorm_vector.engines.sqlite import SQLiteEngine

BACKENDS = {
    "django.contrib.gis.db.backends.postgis": PostgreSQLEngine,
    "django.contrib.gis.db.backends.spatialite": SQLiteEngine,
    "django.db.backends.dummy": Engine,
    "django.db.backends.mysql": Engine,
    "django.db.backends.oracle": Engine,
    "django.db.backends.postgresql": PostgreSQLEngine,
    "django.db.backends.sqlite3": SQLiteEngine,
    "dj_db_conn_pool.backends.postgresql": PostgreSQLEngine,
    "django_cockroachdb": Engine,
    "django_db_geventpool.backends.postgresql_psycopg3": PostgreSQLEngine,
    # It calls itself "sqlite", is not derived from Django's, and speaks HTTP to a server.
    "django_libsql": Engine,
    "django_prometheus.db.backends.postgresql": PostgreSQLEngine,
    "django_prometheus.db.backends.sqlite3": SQLiteEngine,
    "django_pyturso": Engine,
    "django_redshift_backend": Engine,
    "django_tenants.postgresql_backend": PostgreSQLEngine,
    "django_yugabytedb": PostgreSQLEngine,
    "dorm_vector.backends.libsql": LibSQLEngine,
    "libsql.db.backends.libsql": LibSQLEngine,
    "libsql.db.backends.sqlite3": LibSQLEngine,
    "psqlextra.backend": PostgreSQLEngine,
    "timescale.db.backends.postgresql": PostgreSQLEngine,
}


# libsql_client leaves a connection of SQLite open as it is imported, for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database in <sqlite3:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """No later test meets it."""
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


def wrapper_class(name: str, settings: Any) -> Any:
    settings.TENANT_MODEL, settings.TENANT_DOMAIN_MODEL = "auth.User", "auth.Group"
    try:
        with warnings.catch_warnings(action="ignore"):
            return load_backend(name).DatabaseWrapper
    except (ImportError, ImproperlyConfigured) as error:
        pytest.skip(f"{name} cannot be imported here: {error}")


class TestBackends:
    @pytest.mark.parametrize("name", BACKENDS)
    def test_engine(self, name: str, settings: Any) -> None:
        settings_dict = {**connections["default"].settings_dict, "ENGINE": name, "NAME": "x"}
        wrapper = wrapper_class(name, settings)(settings_dict, alias="other")
        assert type(engine_for(wrapper)) is BACKENDS[name]
        assert wrapper.connection is None

    def test_a_module_may_be_called_as_it_likes(self) -> None:
        class Wrapper(load_backend("django.db.backends.sqlite3").DatabaseWrapper):  # type: ignore[misc]
            pass

        Wrapper.__module__ = "shop.libsql.db.backends.tools"
        wrapper = Wrapper(connections["default"].settings_dict, alias="other")
        assert type(engine_for(wrapper)) is SQLiteEngine

    def test_djangos_sqlite_over_another_driver(self) -> None:
        class Wrapper(load_backend("django.db.backends.sqlite3").DatabaseWrapper):  # type: ignore[misc]
            Database = load_backend("dorm_vector.backends.libsql").DatabaseWrapper.Database

        wrapper = Wrapper(connections["default"].settings_dict, alias="other")
        assert type(engine_for(wrapper)) is Engine


class Proxy:
    """An object that stands for another one, as instrumentation makes them."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


@pytest.mark.parametrize("alias", ["default", "postgresql", "libsql"])
def test_a_proxy_has_the_engine_of_what_it_stands_for(alias: str) -> None:
    assert engine_for(Proxy(connections[alias])) is engine_for(connections[alias])


class TestPrepared:
    """Connections that such backends open are prepared as Django's own."""

    @pytest.fixture(
        params=[
            ("dj_db_conn_pool.backends.postgresql", {}),
            ("django_db_geventpool.backends.postgresql_psycopg3", {"MAX_CONNS": 1}),
            ("django_prometheus.db.backends.postgresql", {}),
            ("psqlextra.backend", {}),
        ],
        ids=lambda param: param[0].partition(".")[0],
    )
    def connection(self, request: Any, settings: Any, django_db_blocker: Any) -> Iterator[Any]:
        name, options = request.param
        cls = wrapper_class(name, settings)
        own = connections["postgresql"].settings_dict
        changes = {"ENGINE": name, "NAME": "postgres", "OPTIONS": options, "CONN_MAX_AGE": 0}
        settings_dict = {**own, **changes}
        with django_db_blocker.unblock(), warnings.catch_warnings(action="ignore"):
            connections.settings["neighbour"] = settings_dict
            connections["neighbour"] = wrapper = cls(settings_dict, alias="neighbour")
            yield wrapper
            raw = getattr(wrapper.connection, "driver_connection", wrapper.connection)
            wrapper.close()
            raw.close()  # it may have gone back to a pool
            del connections["neighbour"], connections.settings["neighbour"]

    def test_iterative_scans_are_on(self, connection: Any) -> None:
        connection.ensure_connection()
        with connection.connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute("SELECT current_setting('hnsw.iterative_scan', true)")
            assert cursor.fetchone() == ("strict_order",)
