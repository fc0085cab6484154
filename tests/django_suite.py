"""
Django's own test suite, on the backend for libSQL and on stock backends with the app installed.

``python -m tests.django_suite [modules...]`` runs it on the backend for libSQL.

``python -m tests.django_suite --app [modules...]`` runs it on SQLite and PostgreSQL, each with
"dorm_vector" in INSTALLED_APPS and without, and fails where a test fares differently: installing
the app may change nothing else. ``--all`` takes every module of Django's.

The tests come from the source distribution of the Django that is installed, which pip downloads
once into a folder outside of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
import psycopg

from tests.support import postgres
from tests.support.django_runner import VARIABLE

ROOT = Path(__file__).parent.parent
# Those that write SQL, or look into databases. ATOMIC_REQUESTS is tested in handlers.
MODULES = [
    "aggregation",
    "annotations",
    "backends",
    "basic",
    "bulk_create",
    "constraints",
    "datetimes",
    "db_functions",
    "delete",
    "expressions",
    "fixtures",
    "get_or_create",
    "handlers",
    "indexes",
    "introspection",
    "lookup",
    "migrations",
    "model_fields",
    "queries",
    "schema",
    "serializers",
    "timezones",
    "transaction_hooks",
    "transactions",
    "update",
]
# Those that see receivers, checks, commands, apps, introspection or transactions of other apps.
APP_MODULES = [
    "admin_checks",
    "backends",
    "check_framework",
    "indexes",
    "introspection",
    "migrations",
    "model_fields",
    "schema",
    "serializers",
    "test_utils",
    "transactions",
]

# As Django's own tests/test_sqlite.py.
SETTINGS = """
import django

DATABASES = {databases!r}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
if django.VERSION < (6, 0):
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
# runtests.py reads the settings before it puts this list of its own in place of INSTALLED_APPS.
INSTALL = """
import sys

getattr(sys.modules["__main__"], "ALWAYS_INSTALLED_APPS", []).append("dorm_vector")
"""
REPORT = 'TEST_RUNNER = "tests.support.django_runner.Runner"\n'

# They compare times, and fail on a busy machine.
TIMED = {"test_crafted_xml_performance"}

Databases = dict[str, dict[str, Any]]
# What became of a test to its text: a traceback, or the reason for a skip.
Outcomes = dict[tuple[str, str], str]


def fetched(version: str, folder: Path) -> Path:
    """The unpacked source distribution of Django."""
    source = folder / f"django-{version}"
    if source.exists():
        return source
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "django"]
    subprocess.run([*pip, "--dest", str(folder), f"django=={version}"], check=True)
    (archive,) = (path for path in folder.glob("*.tar.gz") if version in path.name)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (unpacked,) = (
        path for path in folder.glob("?jango-*") if path.is_dir() and version in path.name
    )
    return unpacked.rename(source)


def libsql(alias: str, files: str | None) -> dict[str, Any]:
    engine = "dorm_vector.backends.libsql"
    if files is None:
        return {"ENGINE": engine, "NAME": ":memory:"}
    return {
        "ENGINE": engine,
        "NAME": f"{files}/{alias}.db",
        "TEST": {"NAME": f"{files}/test_{alias}.db"},
    }


def stock(engine: str, name: str) -> Databases:
    """Both databases of Django's suite; ``name`` keeps runs on one server apart."""
    if engine == "sqlite":
        return {alias: {"ENGINE": "django.db.backends.sqlite3"} for alias in ("default", "other")}
    return {
        alias: {**postgres.database(), "NAME": f"{name}_{alias}"} for alias in ("default", "other")
    }


def start(
    source: Path, folder: Path, settings: str, arguments: list[str], **options: Any
) -> subprocess.Popen[str]:
    """Django's runtests.py in a process of its own, with its settings in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite_settings.py").write_text(settings)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(source), str(folder), str(ROOT)]),
        VARIABLE: str(folder / "outcomes.json"),
    }
    command = [sys.executable, "runtests.py", "--settings", "suite_settings", *arguments]
    return subprocess.Popen(command, cwd=source / "tests", env=environment, text=True, **options)


def run_on_libsql(source: Path, arguments: list[str], in_files: bool) -> int:
    """The exit code of Django's runtests.py."""
    with tempfile.TemporaryDirectory() as folder:
        files = folder if in_files else None
        databases = {alias: libsql(alias, files) for alias in ("default", "other")}
        return start(source, Path(folder), SETTINGS.format(databases=databases), arguments).wait()


def compare(source: Path, engine: str, arguments: list[str]) -> int:
    """Run the suite without and with the app, and say how many tests fare otherwise with it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        processes = {}
        for name, settings in (("without", REPORT), ("with", REPORT + INSTALL)):
            path = Path(folder, name)
            log = stack.enter_context(path.with_suffix(".log").open("w"))
            settings = SETTINGS.format(databases=stock(engine, name)) + settings
            processes[path] = start(source, path, settings, arguments, stdout=log, stderr=log)
        for process in processes.values():
            process.wait()
        without, with_app = (read(path, path.name == "with") for path in processes)
    differences = changed(without, with_app)
    print(f"{engine}: {len(differences)} of Django's tests fare otherwise with dorm_vector")
    for line in differences:
        print(line)
    return len(differences)


def read(folder: Path, installed: bool) -> Outcomes:
    """The outcomes of a run, which has to have come to its end."""
    path = folder / "outcomes.json"
    if not path.exists():
        log = folder.with_suffix(".log").read_text()
        raise SystemExit(f"Django's suite did not run to its end:\n{log}")
    found = json.loads(path.read_text())
    if found.pop("installed") != installed:
        raise SystemExit("Django's runtests.py did not take the app from these settings.")
    ran = {("ran", str(found.pop("ran"))): ""}
    return ran | {
        (outcome, test): text for outcome, tests in found.items() for test, text in tests.items()
    }


def changed(without: Outcomes, with_app: Outcomes) -> list[str]:
    """What only one of two runs has."""
    return [
        f"{where}: {outcome} {test}\n{found[outcome, test]}"
        for where, found, other in (("without", without, with_app), ("with", with_app, without))
        for outcome, test in sorted(set(found) - set(other))
        if test.split()[0] not in TIMED
    ]


def add_collation() -> None:
    """A collation of ICU that Django's models name, for a server that was built without ICU."""
    with psycopg.connect(
        os.environ[postgres.VARIABLE], dbname="template1", autocommit=True
    ) as template:
        template.execute('CREATE COLLATION IF NOT EXISTS "sv-x-icu" FROM "C"')


def run_with_app(source: Path, engines: list[str], arguments: list[str]) -> int:
    """1 where a test fares otherwise with the app than without, else 0."""
    with ExitStack() as stack:
        if "postgresql" in engines and postgres.VARIABLE not in os.environ:
            stack.enter_context(postgres.server())
            add_collation()
        differences = [compare(source, engine, arguments) for engine in engines]
        return int(any(differences))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help="or labels of single tests")
    parser.add_argument("--django-version", default=django.get_version())
    parser.add_argument("--files", action="store_true", help="libSQL's databases in files")
    parser.add_argument("--app", action="store_true", help="compare with and without the app")
    parser.add_argument("--all", action="store_true", help="all of Django's modules")
    engines = ["sqlite", "postgresql"]
    parser.add_argument("--engine", action="append", choices=engines, help="with --app: only this")
    parser.add_argument("--parallel", default="1", help="how many processes")
    default = Path(tempfile.gettempdir(), "dorm_vector_django_suite")
    parser.add_argument("--folder", type=Path, default=default, help="for what is downloaded")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    source = fetched(options.django_version, options.folder.resolve())
    modules = options.modules or (APP_MODULES if options.app else MODULES)
    if options.all:
        modules = []
    arguments = ["--parallel", options.parallel, *modules]
    if options.app:
        return run_with_app(source, options.engine or engines, ["--noinput", *arguments])
    return run_on_libsql(source, arguments, options.files)


if __name__ == "__main__":
    sys.exit(main())
