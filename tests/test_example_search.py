"""The pages of the example on every database: one process for each, with a few entries."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from tests.support import postgres
from tests.support.paths import ROOT

ABOUT = {
    ("bz2.compress", "bz2", "function"): "Compress a block of data.",
    ("gzip.compress", "gzip", "function"): "Compress data in one shot & return it <whole>.",
    ("zipfile.ZipFile", "zipfile", "class"): "Class with methods to open, read, write zip files.",
    ("email.message.Message.walk", "email.message", "method"): "Walk over the message tree.",
    ("email.parser.Parser", "email.parser", "class"): "Parser of RFC 2822 and MIME email messages.",
    ("statistics.median", "statistics", "function"): "Return the median of numeric data.",
    ("os.fsync", "os", "function"): "Force write of a file to disk.",
    ('shop/%61 "b"?#\'', "shop", "function"): "Something oddly named.",
}
FILLER = 45
DATABASE = "dorm_vector_example_pages" + postgres.SCRATCH.removeprefix("dorm_vector")

# Prints what the URLs of the standard input, a list in JSON, are answered with.
PROGRAM = """
import json, sys
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from example_project.library.embedding import embed_entries
from example_project.library.models import Entry
given = json.load(sys.stdin)
call_command("migrate", verbosity=0)
if given["entries"]:
    entries = [
        Entry(name=name, module=module, kind=kind, signature="(data)", summary=summary, doc=doc)
        for name, module, kind, summary, doc in given["entries"]
    ]
    for entry, vector in zip(entries, embed_entries(entries)):
        entry.embedding = vector
    Entry.objects.bulk_create(entries)
client = Client(SERVER_NAME="localhost", raise_request_exception=True)
answers = []
for url in given["urls"]:
    with CaptureQueriesContext(connection) as queries:
        response = client.get(url)
    answers.append(
        [response.status_code, response.content.decode(), len(queries), [*response.cookies]]
    )
print(json.dumps(answers))
"""


class Page(NamedTuple):
    """What a URL is answered with."""

    status: int
    html: str
    queries: int
    cookies: list[str]

    @property
    def main(self) -> str:
        return self.html.partition("<main")[2]

    @property
    def text(self) -> str:
        """The text of the main part, in one line."""
        return " ".join(unescape(re.sub("<[^>]*>", " ", self.main)).split())

    @property
    def names(self) -> list[str]:
        return [
            unescape(name)
            for name in re.findall(
                r'<h3>.*?<a href="[^"]*"><code>(.*?)</code>', self.main, re.DOTALL
            )
        ]


Get = Callable[..., Page]


def answers(url: str, urls: list[str], entries: list[Any] | None = None) -> list[Page]:
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "PYTHONPATH": str(ROOT),
    }
    given = json.dumps({"urls": urls, "entries": entries})
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment, input=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return [Page(*each) for each in json.loads(ended.stdout)]


def urls_of(query: str, **parameters: object) -> str:
    pairs = {"q": query, **parameters}
    return "/?" + "&".join(f"{name}={quote(str(value))}" for name, value in pairs.items())


# Everything that is asked in this module, in one process for each database.
SEARCHES = {
    "found": urls_of("compress a file"),
    "meaning": urls_of("compress a file", mode="meaning"),
    "words": urls_of("compress", mode="words"),
    "kind": urls_of("compress a file", kind="class"),
    "module": urls_of("read a message", module="email"),
    "inner module": urls_of("read a message", module="email.parser"),
    "kind and module": urls_of("read a message", module="email", kind="method"),
    "words of a kind": urls_of("compress", mode="words", kind="class"),
    "nothing there": urls_of("compress", module="bz2", kind="class"),
    "weak": urls_of("vegetarian lasagne recipe", mode="meaning"),
    "weak, but a word": urls_of("lasagne", mode="both", module="filler"),
    "pages": urls_of("number", mode="meaning"),
    "page 2": urls_of("number", mode="meaning", page=2),
    "page 3": urls_of("number", mode="meaning", page=3),
    "page 4": urls_of("number", mode="meaning", page=4),
    "page 0": urls_of("number", page=0),
    "page x": urls_of("number", page="x"),
    "page 51": urls_of("number", page=51),
    "no kind": urls_of("number", kind="<b>"),
    "no mode": urls_of("number", mode="x"),
    "home": "/",
    "entry": f"/entry/bz2.compress/?q={quote('compress a block <b>')}",
    "odd entry": f"/entry/{quote(next(name for name, *_ in ABOUT if 'shop' in name), safe='')}/",
    "no entry": "/entry/nothing/",
    "like": "/like/bz2.compress/",
    "like, page 2": "/like/bz2.compress/?page=2",
    "like, page x": "/like/bz2.compress/?page=x",
}
WORDLESS = ["!!!", "🎉", "%", '"', "_", " . ", "-", "''"]
ODD = [
    "' OR 1=1 --",
    '"open phrase',
    "a* NEAR(b, 3)",
    "{{ x }} {% y %}",
    "café — ŒUVRE",
    "x" * 2000,
    "𐌀 unicode",
]
REFUSED = {"\0": "Null characters are not allowed.", "x " * 5000: "at most 2000 characters"}


@pytest.fixture(scope="module", params=["sqlite", "libsql", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param != "postgresql":
        yield f"{request.param}:///{tmp_path_factory.mktemp('pages') / 'pages.db'}"
        return
    server = os.environ[postgres.VARIABLE]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {DATABASE}")
        yield urlsplit(server)._replace(path=f"/{DATABASE}").geturl()
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture(scope="module")
def pages(url: str) -> dict[str, Page]:
    entries = [[*key, summary, f"{summary}\n\nMore of it."] for key, summary in ABOUT.items()]
    for number in range(FILLER):
        summary = f"Return the number {number} of the filler."
        doc = summary + (" Baked like lasagne." if number == 7 else "")
        entries.append([f"filler.number{number}", "filler", "function", summary, doc])
    wanted = {**SEARCHES, **{each: urls_of(each) for each in [*WORDLESS, *ODD, *REFUSED]}}
    found = answers(url, [*wanted.values()], entries)
    return dict(zip(wanted, found, strict=True))


def test_a_search(pages: dict[str, Page]) -> None:
    found = pages["found"]
    assert set(found.names[:2]) == {"bz2.compress", "gzip.compress"}
    assert len(found.names) == 20
    assert "<mark>Compress</mark> a block of data." in found.main
    # What an entry says is text, whatever is in it.
    assert "one shot &amp; return it &lt;whole&gt;." in found.main
    assert 'href="https://docs.python.org/3.' in found.main
    assert 'library/bz2.html#bz2.compress"' in found.main
    assert "by meaning 1 " in found.text
    assert "Nothing here is close" not in found.text


def test_what_is_said_of_a_hit_by_mode(pages: dict[str, Page]) -> None:
    assert re.search(r"distance 0\.\d{4}", pages["meaning"].text)
    assert pages["meaning"].names[:2] == ["bz2.compress", "gzip.compress"]
    assert sorted(pages["words"].names) == ["bz2.compress", "gzip.compress"]
    assert re.search(r"rank \d\.\d{4}", pages["words"].text)


def test_kinds_and_modules(pages: dict[str, Page]) -> None:
    assert set(pages["kind"].names) == {"zipfile.ZipFile", "email.parser.Parser"}
    both = {"email.message.Message.walk", "email.parser.Parser"}
    assert set(pages["module"].names) == both
    assert pages["inner module"].names == ["email.parser.Parser"]
    assert pages["kind and module"].names == ["email.message.Message.walk"]
    assert "Nothing of that kind and module was found." in pages["nothing there"].text
    assert pages["words of a kind"].names == []


def options(page: Page, name: str) -> list[str]:
    select = re.search(rf'<select name="{name}".*?</select>', page.html, re.DOTALL)
    assert select
    return re.findall(r"<option [^>]*>\s*(.*?)\s*</option>", select[0])


def test_counts(pages: dict[str, Page]) -> None:
    total = len(ABOUT) + FILLER
    assert options(pages["found"], "kind") == [
        f"any kind ({total})", f"Function ({total - 3})", "Class (2)", "Method (1)",
    ]  # fmt: skip
    assert options(pages["found"], "module") == [
        f"any module ({total})", "bz2 (1)", "email (2)", f"filler ({FILLER})", "gzip (1)",
        "os (1)", "shop (1)", "statistics (1)", "zipfile (1)",
    ]  # fmt: skip
    # Each is counted within the other.
    assert options(pages["kind"], "module") == ["any module (2)", "email (1)", "zipfile (1)"]
    expected = ["any kind (2)", "Function (0)", "Class (1)", "Method (1)"]
    assert options(pages["module"], "kind") == expected
    assert "email.parser (1)" in options(pages["inner module"], "module")
    # By words, the hits are counted.
    expected = ["any kind (2)", "Function (2)", "Class (0)", "Method (0)"]
    assert options(pages["words"], "kind") == expected
    assert '<option value="class" selected>' in pages["kind"].html


def test_weak_matches(pages: dict[str, Page]) -> None:
    said = "Nothing here is close to that. These are the nearest entries all the same."
    assert said in pages["weak"].text
    assert len(pages["weak"].names) == 20
    assert said not in pages["weak, but a word"].text


def test_pages_are_one_sequence(pages: dict[str, Page]) -> None:
    first, second, third = (pages[each] for each in ("pages", "page 2", "page 3"))
    names = [*first.names, *second.names, *third.names]
    assert [len(each.names) for each in (first, second, third)] == [20, 20, 13]
    assert len(set(names)) == len(ABOUT) + FILLER
    assert re.findall(r'rel="(\w+)" href="([^"]*)"', second.main) == [
        ("prev", "?q=number&amp;mode=meaning&amp;page=1"),
        ("next", "?q=number&amp;mode=meaning&amp;page=3"),
    ]
    assert 'rel="prev"' not in first.main
    assert 'rel="next"' not in third.main
    assert 'id="hit-41"' in third.main
    assert "There is no page 4" in pages["page 4"].text
    for each in ("page 0", "page x", "page 51"):
        assert "Pages have numbers from 1 to 50." in pages[each].html
        assert pages[each].names == []


def test_what_cannot_be_asked(pages: dict[str, Page]) -> None:
    assert "There is no kind “&lt;b&gt;”." in pages["no kind"].html
    assert "x is not one of the available choices" in pages["no mode"].html


@pytest.mark.parametrize("text", WORDLESS)
def test_no_words(pages: dict[str, Page], text: str) -> None:
    page = pages[text]
    assert (page.status, page.names) == (200, [])
    expected = "There are no words in it to search for." if text.strip() else "Say what"
    assert expected in page.text


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(pages: dict[str, Page], text: str) -> None:
    page = pages[text]
    assert page.status == 200
    assert f"“{text[:119]}" in page.text
    assert page.names


@pytest.mark.parametrize("text", REFUSED, ids=["NUL", "10 kB"])
def test_errors_stand_beside_the_input(pages: dict[str, Page], text: str) -> None:
    page = pages[text]
    assert (page.status, page.names) == (200, [])
    error = re.search(r'<ul class="errorlist" id="(.*?)"><li>(.*?)</li>', page.html)
    assert error
    assert REFUSED[text] in error[2]
    (box,) = re.findall(r'<input type="search"[^>]*>', page.html)
    assert f'aria-describedby="{error[1]}"' in box
    assert 'aria-invalid="true"' in box


def test_an_entry(pages: dict[str, Page]) -> None:
    page = pages["entry"]
    assert "<mark>Compress</mark> a <mark>block</mark> of data.\n\nMore of it.</pre>" in page.main
    assert page.names[0] == "gzip.compress"
    assert "bz2.compress" not in page.names
    assert len(page.names) == 8
    assert "all for “compress a block <b>”" in page.text
    assert "Python's documentation" in page.text
    assert "Something oddly named." in pages["odd entry"].text
    assert pages["no entry"].status == 404


def test_more_like_an_entry(pages: dict[str, Page]) -> None:
    first, second = pages["like"], pages["like, page 2"]
    assert first.names[0] == "gzip.compress"
    assert len(first.names) == len(second.names) == 20
    assert not {*first.names} & {*second.names}
    assert pages["like, page x"].names == first.names


def test_the_map(pages: dict[str, Page]) -> None:
    for name, drawn in (("found", 20), ("like", 20), ("entry", 8)):
        page = pages[name]
        numbered = re.findall(r'<a href="#hit-(\d+)" aria-label="(\d+): (.*?)">', page.main)
        assert [(int(to), int(number)) for to, number, _ in numbered] == [
            (number, number) for number in range(1, drawn + 1)
        ]
        assert [unescape(each) for _, _, each in numbered] == page.names
        assert all(f'id="hit-{to}"' in page.main for to, _, _ in numbered)
        assert re.search(r"show \d+\s% of their differences", page.text)
        # A picture without any script.
        assert "<script" not in page.html
    assert 'aria-label="your text"' in pages["found"].main
    assert 'aria-label="bz2.compress"' in pages["like"].main
    # There is no vector of the text where words alone count, and two hits make no map.
    assert "<svg" not in pages["words"].main


def test_nothing_is_remembered_outside_of_the_url(pages: dict[str, Page]) -> None:
    assert {each.status for each in pages.values()} == {200, 404}
    assert [name for name, each in pages.items() if each.cookies] == []
    assert 'method="get"' in pages["home"].html


def test_the_queries_of_a_page_are_few(pages: dict[str, Page]) -> None:
    """Not one for each hit."""
    assert max(each.queries for each in pages.values()) <= 16


def test_labels(pages: dict[str, Page]) -> None:
    """Each control has a label of its own."""
    page = pages["found"].html
    fields = re.findall(r'<(?:input|select)[^>]* id="(.*?)"', page)
    assert len(fields) == 6
    inside = re.findall(r'<label><input[^>]* id="(.*?)"', page)
    assert {*re.findall(r'<label[^>]* for="(.*?)"', page), *inside} == {*fields}


@functools.cache
def hint(target: str, **environment: str) -> str:
    from example_project import databases

    return databases.command(target, environment)


def test_hints_name_the_command_for_the_database() -> None:
    assert hint("demo") == hint("demo", DATABASE="sqlite") == "make demo"
    assert hint("serve", DATABASE="libsql") == "make serve DATABASE=libsql"
    assert (
        hint("demo", DATABASE="libsql", DATABASE_URL="x") == "make demo, with the same DATABASE_URL"
    )
    server = {"DORM_VECTOR_EXAMPLE_SERVER": "1", "DATABASE": "postgresql", "DATABASE_URL": "x"}
    assert hint("demo", **server) == "make demo DATABASE=postgresql"


def test_an_empty_table(tmp_path: Path) -> None:
    (page,) = answers(f"sqlite:///{tmp_path / 'empty.db'}", [urls_of("compress")])
    assert (
        "The table is empty: stop the server, run make demo, with the same DATABASE_URL"
        in page.text
    )
