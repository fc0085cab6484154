"""
Django's own test suite on the database backend for libSQL.

``python -m tests.django_suite [modules...]`` takes the tests from the source distribution of the
Django that is installed, which pip downloads once into a folder outside of the repository.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

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


def database(alias: str, files: str | None) -> dict[str, object]:
    engine = "dorm_vector.backends.libsql"
    if files is None:
        return {"ENGINE": engine, "NAME": ":memory:"}
    return {
        "ENGINE": engine,
        "NAME": f"{files}/{alias}.db",
        "TEST": {"NAME": f"{files}/test_{alias}.db"},
    }


def run(source: Path, arguments: list[str], in_files: bool) -> int:
    """The exit code of Django's runtests.py."""
    with tempfile.TemporaryDirectory() as folder:
        files = folder if in_files else None
        databases = {alias: database(alias, files) for alias in ("default", "other")}
        Path(folder, "libsql_settings.py").write_text(SETTINGS.format(databases=databases))
        path = os.pathsep.join([str(source), folder, str(ROOT)])
        command = [sys.executable, "runtests.py", "--settings", "libsql_settings", *arguments]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            command, cwd=source / "tests", env=environment, check=False
        ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=MODULES, help="or labels of single tests")
    parser.add_argument("--django-version", default=django.get_version())
    parser.add_argument("--files", action="store_true", help="databases in files, not in memory")
    parser.add_argument("--parallel", default="1", help="how many processes")
    default = Path(tempfile.gettempdir(), "dorm_vector_django_suite")
    parser.add_argument("--folder", type=Path, default=default, help="for what is downloaded")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    source = fetched(options.django_version, options.folder.resolve())
    arguments = ["--parallel", options.parallel, *options.modules]
    return run(source, arguments, options.files)


if __name__ == "__main__":
    sys.exit(main())
