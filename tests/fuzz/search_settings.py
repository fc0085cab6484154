"""The settings of the tests, with the models of the search fuzzer and a database for its oracle."""

from __future__ import annotations

import atexit
import contextlib
import os

import psycopg

from tests.support import postgres

if postgres.VARIABLE not in os.environ:
    stack = contextlib.ExitStack()
    stack.enter_context(postgres.server())
    atexit.register(stack.close)

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.fuzz.search_apps.SearchFuzzConfig"]
DATABASE_ROUTERS: list[str] = []

# Stock SQLite, where distances are numpy's.
DATABASES["oracle"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}

DATABASE = f"search_fuzz_{os.getpid()}"


def _statement(sql: str) -> None:
    with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True) as admin:
        admin.execute(sql)


_statement(f"CREATE DATABASE {DATABASE}")
# Before the server stops, which is registered earlier and so comes later.
atexit.register(_statement, f"DROP DATABASE {DATABASE} WITH (FORCE)")
DATABASES["postgresql"] = {**DATABASES["postgresql"], "NAME": DATABASE}
