"""The example, as its users run it: one process for each command, on every database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured

from example_project.databases import from_url
from tests.support import postgres
from tests.support.paths import ROOT

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

ADMIN = """
import django, json, sys
django.setup()
from django.contrib.auth.models import User
from django.test import Client
from example_project.library.models import Entry
User.objects.create_superuser("librarian", password="secret")
client = Client(SERVER_NAME="localhost")
def page(method, url, *data):
    response = getattr(client, method)("/admin/" + url, *data, follow=True)
    assert response.status_code == 200, (url, response.status_code)
    return response.content.decode()
def entries():
    return Entry.objects.filter(name="bz2.compress").count()
entry = Entry.objects.get(name="bz2.compress")
form = {"username": "librarian", "password": "secret", "next": "/admin/"}
pages = {"login": page("post", "login/", form)}
pages["list"] = page("get", "library/entry/")
pages["searched"] = page("get", "library/entry/?q=bz2.compress&kind__exact=function")
pages["entry"] = page("get", f"library/entry/{entry.pk}/change/")
user = User.objects.create_user("reader")
form = {"username": "reader2", "date_joined_0": "2024-02-29", "date_joined_1": "12:00:00"}
pages["edited"] = page("post", f"auth/user/{user.pk}/change/", form)
pages["history"] = page("get", f"auth/user/{user.pk}/history/")
before = entries()
pages["deleted"] = page("post", f"library/entry/{entry.pk}/delete/", {"post": "yes"})
action = {"action": "delete_selected", "post": "yes", "_selected_action": [user.pk]}
pages["selected"] = page("post", "auth/user/", action)
pages["home"] = page("get", "")
print(json.dumps({"pages": pages, "entries": [before, entries()]}))
"""


CHANGE = """
import django
django.setup()
from example_project.library.models import Entry
Entry.objects.filter(name="bz2.compress").update(summary="Pack bytes.")
assert Entry.objects.get(embedding=None).name == "bz2.compress"
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("example")


@pytest.fixture(scope="module", params=["sqlite", "libsql"])
def file_url(request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of a database in a file."""
    return f"{request.param}:///{folder / request.param}.db"


def test_demo_on_every_database(folder: Path, scratch: Any) -> None:
    scratch()
    postgresql_url = (
        urlsplit(os.environ[postgres.VARIABLE])._replace(path=f"/{postgres.SCRATCH}").geturl()
    )
    urls = [f"{scheme}:///{folder / scheme}.db" for scheme in ("sqlite", "libsql")]
    found = [hits(manage(url, "demo")) for url in [*urls, postgresql_url]]
    # Words have other ranks on PostgreSQL.
    assert found[0] == found[1]
    for shown in found:
        assert len(shown) == 15
        names = {name for _, name in shown}
        assert {"bz2.compress", "gzip.compress", "statistics.median"} <= names
    check_modes([*urls, postgresql_url])
    # Going on where it was stopped adds nothing here.
    for url in urls:
        assert " 0 of them new" in manage(url, "index_library")
    # What was changed has no vector any more, whoever has changed it.
    run(urls[0], "-c", CHANGE)
    assert " 1 of them new" in manage(urls[0], "index_library")


def check_modes(urls: list[str]) -> None:
    """The same hits by meaning on every database, and the one with the word by words."""
    by_meaning = [
        hits(manage(url, "search", "compress a file", "--mode", "meaning")) for url in urls
    ]
    assert by_meaning[0] == by_meaning[1] == by_meaning[2]
    assert {"bz2.compress", "lzma.compress"} <= {name for _, name in by_meaning[0]}
    weak = manage(urls[0], "search", "vegetarian lasagne recipe")
    assert weak.endswith("\nNothing here is close to that. These are the nearest all the same.\n")
    assert "Nothing here" not in manage(urls[0], "search", "compress a file")
    for url in urls:
        assert hits(manage(url, "search", "EAGAIN", "--mode", "words")) == [("1", "fcntl.lockf")]
        (line, *_) = manage(url, "search", "-n", "1", "EAGAIN").splitlines()
        assert re.fullmatch(r" +1  0\.\d{4}  fcntl\.lockf  meaning +[-\d]+  words +1  .+", line), (
            line
        )


def waiting(url: str) -> int:
    """How many entries have no vector."""
    embedder = "example_project.library.embedding.embed_entries"
    arguments = ("library.Entry.embedding", "--with", embedder, "--dry-run", "--json")
    return int(json.loads(manage(url, "embed", *arguments))["rows"])


def test_stopped_and_resumed(file_url: str) -> None:
    """Killed after the first batches: the entries are there, and the others get their vectors."""
    manage(file_url, "migrate", "-v0")
    environment = {
        **os.environ,
        "DATABASE_URL": file_url,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "example_project/manage.py", "index_library", "--rebuild"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as indexing:
        said = b""
        while b"256/" not in said and indexing.poll() is None:
            said += indexing.stderr.read(1)  # type: ignore[union-attr]
        indexing.kill()
    left = waiting(file_url)
    assert left > 0
    manage(file_url, "index_library", "-v0")
    assert waiting(file_url) == 0
    # What is embedded of an entry changes, by another way than this command's.
    edit = "UPDATE library_entry SET summary = 'Squeezes.' WHERE name = 'bz2.compress'"
    program = (
        "import django; django.setup(); from django.db import connection; "
        f"connection.cursor().execute({edit!r})"
    )
    run(file_url, "-c", program)
    assert waiting(file_url) == 1
    manage(file_url, "index_library", "-v0")
    assert waiting(file_url) == 0


def test_pages(file_url: str) -> None:
    manage(file_url, "demo")
    home, found, like, escaped, meaning, words, wrong = (
        run(file_url, "-c", PAGES, url)
        for url in (
            "/",
            "/?q=compress+a+file",
            "/like/bz2.compress/",
            "/?q=%3Cscript%3Ealert",
            "/?q=compress+a+file&mode=meaning",
            "/?q=EAGAIN&mode=words",
            "/?q=EAGAIN&mode=%3Cscript%3E",
        )
    )
    assert "bz2.compress" not in home
    assert "bz2.compress" in found
    assert "lzma.compress" in like
    assert "<script>alert" not in escaped
    assert "by meaning 1<" in found
    assert re.search('value="both"[^>]* checked', home)
    assert "distance 0." in meaning
    assert "by meaning" not in meaning.partition("<main>")[2]
    assert "fcntl.lockf" in words
    assert re.search('value="words"[^>]* checked', words)
    assert "is not one of the available choices" in wrong
    assert "<script>" not in wrong


def test_admin(file_url: str) -> None:
    manage(file_url, "demo")
    found = json.loads(run(file_url, "-c", ADMIN))
    pages = found["pages"]
    assert "Site administration" in pages["login"]
    assert "entries" in pages["list"]
    assert "1 entry" in pages["searched"]
    assert "<summary>256 numbers, length " in pages["entry"]
    assert "Nearest rows" in pages["entry"]
    assert "was changed successfully" in pages["edited"]
    assert "Changed Username" in pages["history"]
    assert "was deleted successfully" in pages["deleted"]
    assert found["entries"] == [1, 0]
    assert "Successfully deleted 1 user" in pages["selected"]
    assert "Recent actions" in pages["home"]
    # What was deleted is indexed again.
    assert " 1 of them new" in manage(file_url, "index_library")


@pytest.mark.parametrize(
    ("url", "name", "options"),
    [
        ("libsql:///relative/file.db", "relative/file.db", {}),
        ("libsql:////absolute/a%20file.db", "/absolute/a file.db", {}),
        ("libsql://name.example.com", "libsql://name.example.com", {}),
        (
            "libsql://name.example.com:8080?auth_token=t%2Fk",
            "libsql://name.example.com:8080",
            {"auth_token": "t/k"},
        ),
    ],
)
def test_urls_of_libsql(url: str, name: str, options: dict[str, str]) -> None:
    found = from_url(url)
    assert (found["ENGINE"], found["NAME"]) == ("dorm_vector.backends.libsql", name)
    assert found["OPTIONS"] == options


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3c#ret@h/",
        "postgresql://u:s3c/ret@h/",
        "postgresql://u:123#ret@h/",
        "postgresql://u:s3c?ret@h/",
        "postgresql://u:[s3c@h/",
        "s3cret",
    ],
)
def test_no_password_in_an_error(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        from_url(url)
    assert not any(part in str(caught.value) for part in ("s3c", "ret@", "123"))
    assert caught.value.__cause__ is None
    settings = {"DJANGO_SETTINGS_MODULE": "example_project.settings", "DATABASE_URL": url}
    env = {**os.environ, **settings}
    command = [sys.executable, "example_project/manage.py", "check"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, f"{caught.value}\n")


def test_a_name_that_no_text_can_be() -> None:
    """Before any database is asked: some refuse such text, others cut it."""
    program = (
        "import django; django.setup(); from django.test import Client; "
        "print(Client(SERVER_NAME='localhost').get('/like/a%00b/').status_code)"
    )
    assert run("sqlite:///nowhere/none", "-c", program) == "404\n"
