"""System checks, settings, and the promise that neither they nor imports open connections."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from dorm_vector import conf, models
from dorm_vector.checks import (
    check_connections,
    check_details,
    check_engines,
    check_settings,
)
from dorm_vector.engines import engine_class, engine_for
from tests.support.processes import run


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection can be opened."""

    def refuse(self: Any) -> None:
        raise AssertionError(f"a connection to {self.alias} was opened")

    monkeypatch.setattr(BaseDatabaseWrapper, "connect", refuse)
    for connection in connections.all():
        monkeypatch.setattr(connection, "connection", None)


class NoVectorsOnSQLite:
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label in ("testapp", "textapp") and db == "default" else None


class TestSettings:
    def test_unknown_names(self, settings: Any) -> None:
        settings.DORM_VECTOR = {"ITERATIVE_SCANS": "off", "ENGINES": {}}
        (message,) = check_settings()
        assert message == checks.Error(
            "DORM_VECTOR has no setting 'ITERATIVE_SCANS'.",
            hint="The settings are ENGINES, SQLITE_VEC, ITERATIVE_SCAN.",
            id="dorm_vector.E001",
        )

    @pytest.mark.parametrize(
        ("name", "value", "known"),
        [
            ("SQLITE_VEC", "magic", "'auto', 'extension', 'native', 'python', None"),
            ("ITERATIVE_SCAN", "on; DROP TABLE x", "'off', 'relaxed_order', 'strict_order', None"),
        ],
    )
    def test_unknown_values(self, settings: Any, name: str, value: str, known: str) -> None:
        settings.DORM_VECTOR = {name: value}
        (message,) = check_settings()
        assert message.id == "dorm_vector.E003"
        assert message.msg == f"DORM_VECTOR[{name!r}] is {value!r}; use one of {known}."

    @pytest.mark.parametrize("value", [None, [], "sqlite", {"default": None}, {"default": ["x"]}])
    def test_engines_that_are_none(self, settings: Any, value: Any) -> None:
        settings.DORM_VECTOR = {"ENGINES": value}
        (message,) = check_settings()
        assert message.id == "dorm_vector.E003"
        assert message.msg == (
            f"DORM_VECTOR['ENGINES'] is {value!r}; use a dict of engines by database alias, such "
            "as {'default': 'project.vectors.Engine'}."
        )
        assert check_engines() == check_connections() == []
        with pytest.raises(ImproperlyConfigured) as caught:
            engine_class(connections["default"], "default")
        assert str(caught.value) == message.msg

    def test_defaults_without_the_setting(self) -> None:
        assert {name: conf.get(name) for name in conf.DEFAULTS} == conf.DEFAULTS


def ids(found: list[checks.CheckMessage]) -> list[str]:
    return [message.id.removeprefix("dorm_vector.") for message in found if message.id]


class TestTiers:
    @pytest.mark.parametrize(
        ("tier", "found", "details"),
        [("native", [], ["I001"]), ("python", ["W001"], []), (None, [], [])],
    )
    def test_named_where_it_is_not_the_first(
        self, settings: Any, tier: str | None, found: list[str], details: list[str]
    ) -> None:
        settings.DORM_VECTOR = {"SQLITE_VEC": tier}
        assert ids(check_engines()) == found
        assert ids(check_details()) == details

    def test_what_needs_nothing_is_said_where_somebody_asks(self, settings: Any, db: None) -> None:
        settings.DORM_VECTOR = {"SQLITE_VEC": "native"}
        assert ids(checks.run_checks(databases=["default"])).count("I001") == 0
        asked = checks.run_checks(
            tags=["dorm_vector"], include_deployment_checks=True, databases=[]
        )
        assert "I001" in ids(asked)

    def test_a_warning_is_for_databases_that_may_hold_vectors(self, settings: Any) -> None:
        settings.DORM_VECTOR = {"SQLITE_VEC": "python"}
        settings.DATABASE_ROUTERS = ["tests.test_checks.NoVectorsOnSQLite"]
        assert check_engines() == []

    def test_a_named_tier_that_cannot_be_had(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from dorm_vector.engines.sqlite import extension as sqlite_vec

        settings.DORM_VECTOR = {"SQLITE_VEC": "extension"}
        monkeypatch.setitem(sys.modules, "sqlite_vec", None)
        sqlite_vec.best_tier.cache_clear()
        (message,) = check_engines()
        sqlite_vec.best_tier.cache_clear()
        assert message.id == "dorm_vector.E002"
        assert message.is_serious()

    def test_silent_without_sqlite(self, settings: Any) -> None:
        settings.DORM_VECTOR = {"ENGINES": {"default": "unsupported"}, "SQLITE_VEC": "python"}
        assert check_engines() == []


class TestConnections:
    @pytest.mark.parametrize("value", ["OFF", "0", "'no'"])
    def test_triggers_that_may_not_write(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        options = {"init_command": f"PRAGMA foreign_keys=ON; PRAGMA trusted_schema={value}"}
        monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
        monkeypatch.setattr(engine_for(connections["default"]), "trusting", None)
        (message,) = check_connections()
        assert message == checks.Warning(
            "PRAGMA trusted_schema=OFF lets no trigger write to sqlite-vec's tables: a VectorIndex "
            "is not built, and a table that has one cannot be written (database 'default').",
            hint=(
                "Leave it out of OPTIONS['init_command']; or run manage.py vector_reindex, which "
                "drops the triggers, and search without an index."
            ),
            id="dorm_vector.W008",
        )
        assert message in checks.run_checks(databases=[])

    def test_copies_of_servers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        options = {"sync_url": "libsql://user:secret@example.com", "auth_token": "secret"}
        monkeypatch.setitem(connections["libsql"].settings_dict, "OPTIONS", options)
        (message,) = check_connections()
        assert message == checks.Warning(
            "The client of a copy holds Python's GIL until the server at sync_url answers, and "
            "waits for ever: a server that hangs stops the whole process (database "
            "'libsql').",
            hint="Use the URL of the server as NAME where that must not be.",
            id="dorm_vector.W009",
        )

    def test_silent_otherwise(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        assert check_connections() == []
        options = {"init_command": "PRAGMA trusted_schema=OFF"}
        monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
        monkeypatch.setattr(engine_for(connections["default"]), "trusting", None)
        settings.DATABASE_ROUTERS = ["tests.test_checks.NoVectorsOnSQLite"]
        assert check_connections() == []


class TestFields:
    def test_btree_over_a_long_vector(self) -> None:
        class Long(models.Model):
            fits = models.VectorField(672, unique=True)
            unique = models.VectorField(673, unique=True)
            indexed = models.VectorField(673, db_index=True)
            plain = models.VectorField(673)

            class Meta:
                app_label = "shop"

        found = [message for message in Long.check() if message.id == "dorm_vector.E104"]
        assert [message.obj.name for message in found] == ["unique", "indexed"]
        assert found[0].msg == (
            "A B-tree of PostgreSQL holds vectors of 672 dimensions at most, not of 673 "
            "(database 'postgresql')."
        )

    def test_shared_default(self) -> None:
        class Shared(models.Model):
            wrong = models.VectorField(3, default=[1, 2, 3])
            right = models.VectorField(3, default=lambda: [1, 2, 3])

            class Meta:
                app_label = "shop"

        found = [message for message in Shared.check() if message.id == "fields.E010"]
        assert [message.obj.name for message in found] == ["wrong"]


class TestNoConnections:
    def test_check(self, closed: None) -> None:
        call_command("check", verbosity=0, databases=[])  # Django 6.1 names all by itself

    def test_makemigrations_of_the_extension(self, closed: None) -> None:
        call_command(
            "makemigrations", "contenttypes", enable_pgvector=True, dry_run=True, verbosity=0
        )

    def test_importing_takes_no_settings_and_no_optional_package(self) -> None:
        code = (
            "import sys, dorm_vector, dorm_vector.models\n"
            "optional = {'numpy', 'psycopg', 'sqlite_vec', 'libsql', 'orjson'}\n"
            "assert not optional & set(sys.modules), optional & set(sys.modules)\n"
        )
        result = run(sys.executable, "-c", code)
        assert result.returncode == 0, result.stderr

    def test_mypy_knows_that_the_package_is_typed(self) -> None:
        from importlib.resources import files

        assert (files("dorm_vector") / "py.typed").is_file()


class TestOnlyInstalled:
    """A project without a vector field sees no message, whatever it runs."""

    @pytest.mark.parametrize("tier", ["auto", "native", "python"])
    def test_every_command_is_silent(self, tmp_path: Path, tier: str) -> None:
        (tmp_path / "quiet.py").write_text(
            "INSTALLED_APPS = ['dorm_vector', 'django.contrib.contenttypes']\n"
            "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db'}}\n"
            f"DORM_VECTOR = {{'SQLITE_VEC': {tier!r}}}\n"
        )
        (tmp_path / "manage.py").write_text(
            "import sys\n"
            "from django.core.management import execute_from_command_line\n"
            "execute_from_command_line(sys.argv)\n"
        )
        root = Path(__file__).parent.parent
        environment = {
            **os.environ,
            "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}",
            "DJANGO_SETTINGS_MODULE": "quiet",
        }
        for command in (["check"], ["check", "--database", "default"], ["migrate", "-v0"]):
            done = subprocess.run(
                [sys.executable, "-W", "error", "manage.py", *command],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            assert "dorm_vector" not in done.stdout + done.stderr
            assert done.stderr == ""


@pytest.mark.parametrize("given", [None, [], "auto"])
def test_settings_that_are_no_dict(settings: Any, given: Any) -> None:
    settings.DORM_VECTOR = given
    assert [(each.id, each.msg) for each in check_settings()] == [
        ("dorm_vector.E003", f"DORM_VECTOR is a dict of settings, not {given!r}.")
    ]
