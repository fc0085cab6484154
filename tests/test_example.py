"""The example, as its users run it: one process for each command, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import postgres

ROOT = Path(__file__).parent.parent

PAGES = """
import django, sys
django.setup()
from django.test import Client
client = Client(SERVER_NAME="localhost")
for url in sys.argv[1:]:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    print(response.content.decode())
"""


def run(url: str, *args: str) -> str:
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [sys.executable, *args], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def manage(url: str, *args: str) -> str:
    return run(url, "example_project/manage.py", *args)


def hits(output: str) -> list[tuple[str, str]]:
    """The places and names that a search printed."""
    lines = [line.split() for line in output.splitlines()]
    return [(words[0], words[2]) for words in lines if words and words[0].isdigit()]


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('example') / 'db.sqlite3'}"


def test_demo_on_both_databases(sqlite_url: str, scratch: Any) -> None:
    scratch()
    postgresql_url = urlsplit(os.environ[postgres.VARIABLE])._replace(path="/scratch").geturl()
    outputs = [manage(url, "demo") for url in (sqlite_url, postgresql_url)]
    first, second = map(hits, outputs)
    assert first == second
    assert len(first) == 15
    names = [name for _, name in first]
    assert {"bz2.compress", "lzma.compress", "statistics.median"} <= set(names)
    # Going on where it was stopped adds nothing here.
    assert " 0 of them new" in manage(sqlite_url, "index_library")


def test_pages(sqlite_url: str) -> None:
    manage(sqlite_url, "demo")
    home, found, like, escaped = (
        run(sqlite_url, "-c", PAGES, url)
        for url in ("/", "/?q=compress+a+file", "/like/bz2.compress/", "/?q=%3Cscript%3Ealert")
    )
    assert "bz2.compress" not in home
    assert "bz2.compress" in found
    assert "lzma.compress" in like
    assert "<script>alert" not in escaped
