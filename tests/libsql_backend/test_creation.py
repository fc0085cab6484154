"""Test databases and commands that Django runs for a database."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db import utils as django_errors

from dorm_vector.backends.libsql import dbapi
from tests.support.libsql_backend import Author, create, create_tables, names
from tests.support.paths import ROOT

# A project of three files, whose tests run in two processes.
PROJECT = {
    "suite_settings.py": """
import os

SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {
    "ENGINE": "dorm_vector.backends.libsql", "NAME": os.environ["SUITE_DB"],
    "TEST": {"NAME": os.environ["SUITE_DB"] + ".test"},
}}
""",
    "suite.py": """
from django.contrib.auth.models import Group
from django.test import TestCase


class First(TestCase):
    def test_write(self):
        Group.objects.create(name="a")
        self.assertEqual(Group.objects.count(), 1)


class Second(TestCase):
    test_write = First.test_write
""",
    "run_suite.py": """
import multiprocessing, sys
import django

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    django.setup()
    from django.test.runner import DiscoverRunner

    sys.exit(bool(DiscoverRunner(parallel=2, verbosity=1).run_tests(["suite"])))
""",
}


TEST = {"CHARSET": None, "COLLATION": None, "MIGRATE": True, "MIRROR": None, "NAME": None}


class TestCreation:
    def test_in_memory(self, open_database: Any, tmp_path: Path) -> None:
        connection = open_database("libsql", NAME=str(tmp_path / "db"), TEST=TEST)
        name = connection.creation.create_test_db(verbosity=0)
        assert connection.is_in_memory_db()
        assert connection.settings_dict["NAME"] == name
        assert "auth_user" in connection.introspection.table_names()
        connection.creation.destroy_test_db(str(tmp_path / "db"), verbosity=0)
        assert not (tmp_path / "db").exists()

    def test_a_file_and_its_clone(self, open_database: Any, tmp_path: Path) -> None:
        test = {**TEST, "NAME": str(tmp_path / "test.db")}
        connection = open_database("libsql", NAME=str(tmp_path / "db"), TEST=test)
        creation = connection.creation
        assert creation.create_test_db(verbosity=0) == test["NAME"]
        Group.objects.using("scratch").create(name="cloned")
        clone = creation.get_test_db_clone_settings("7")
        connection.close()
        creation.clone_test_db("7", verbosity=0)
        with closing(dbapi.connect(clone["NAME"])) as copied:
            assert copied.execute("SELECT name FROM auth_group").fetchall() == [("cloned",)]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["test.db", "test_7.db"]
        creation.destroy_test_db(str(tmp_path / "db"), verbosity=0)
        assert not (tmp_path / "test.db").exists()

    def test_no_clones_of_memory_without_fork(
        self, open_database: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = open_database("libsql", NAME=":memory:", TEST=TEST)
        monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "forkserver")
        with pytest.raises(
            django_errors.NotSupportedError, match="start method 'forkserver' is not supported"
        ):
            connection.creation.get_test_db_clone_settings("1")

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_parallel_tests_in_files(self, tmp_path: Path, method: str) -> None:
        for name, text in PROJECT.items():
            (tmp_path / name).write_text(text)
        command = [sys.executable, "run_suite.py", method]
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "suite_settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
            "SUITE_DB": str(tmp_path / "db"),
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, timeout=90, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Ran 2 tests" in done.stderr

    def test_no_test_database_on_a_server(self, open_database: Any) -> None:
        test = {**TEST, "NAME": "libsql://x.example"}
        connection = open_database("libsql", NAME="libsql://y.example", TEST=test)
        with pytest.raises(
            ImproperlyConfigured, match=r"of 'scratch' is a server, libsql://x\.example"
        ):
            connection.creation.create_test_db(verbosity=0)

    def test_options_of_servers_are_left_out(self, open_database: Any) -> None:
        options = {
            "auth_token": "t",
            "sync_url": "libsql://x.example",
            "sync_interval": 60,
            "offline": True,
            "timeout": 3,
        }
        connection = open_database(
            "libsql", NAME="libsql://x.example", OPTIONS=options, TEST={**TEST, "MIGRATE": False}
        )
        connection.creation.create_test_db(verbosity=0)
        assert connection.settings_dict["OPTIONS"] == {"timeout": 3}
        assert connection.connection.timeout == 3
        assert connection.is_in_memory_db()
        connection.creation.destroy_test_db("libsql://x.example", verbosity=0)

    def test_threads_share_a_database_in_memory(self, open_database: Any) -> None:
        """As LiveServerTestCase does with the connection of the test."""
        connection = open_database("libsql", NAME=":memory:")
        create_tables(connection)
        connection.inc_thread_sharing()
        errors: list[BaseException] = []

        def serve(label: str) -> None:
            connections["scratch"] = connection
            try:
                for n in range(50):
                    create(f"{label}{n:02}")
                    assert (
                        Author.objects.using("scratch").filter(name__startswith=label).count() > n
                    )
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=serve, args=(label,)) for label in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        connection.dec_thread_sharing()
        assert errors == []
        assert names() == [f"{label}{n:02}" for label in "abc" for n in range(50)]
