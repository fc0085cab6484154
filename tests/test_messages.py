"""Every message of the package is on the page on troubleshooting, as it reads now."""

from __future__ import annotations

import ast

import pytest

from tests.support.messages import ENTRY, PAGE, entries, messages, normal, texts


def test_every_message_has_an_entry() -> None:
    written = set(entries())
    missing = {text: place for text, place in messages().items() if text not in written}
    assert missing == {}, "Run python -m tests.support.messages, and write an entry for what is new"


def test_every_entry_is_a_message() -> None:
    assert sorted({*entries()} - messages().keys()) == []


def test_every_entry_is_there_once_and_says_what_to_do() -> None:
    found = entries()
    assert sorted({text for text in found if found.count(text) > 1}) == []
    page = PAGE.read_text()
    assert page.count("\n.. message:: ") == len(ENTRY.findall(page))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise ValueError(f"There is no {name!r} here.")', ["There is no … here."]),
        ('raise ValueError("no dots: %s" % name)', ["no dots: …"]),
        ('raise ValidationError(_("Expected %(n)d of %(m)s."), params=p)', ["Expected … of …."]),
        ('warnings.warn("It is slow " + reason, RuntimeWarning)', ["It is slow …"]),
        ('Error("A thing is wrong.", hint="Mend the thing.", id="a.E1")', ["A thing is wrong."]),
        ('REASONS = {"a": "It is not there."}', ["It is not there."]),
        ('def f():\n    """It does a thing."""\n    return "It does not."', ["It does not."]),
        ('raise KeyError("name")', []),
        ('add_argument("--k", help="Rows of a search.")', []),
        ('sql = "SELECT one FROM two"', []),
    ],
)
def test_what_is_a_message(source: str, found: list[str]) -> None:
    assert [normal(text) for _, text in texts(ast.parse(source))] == found
