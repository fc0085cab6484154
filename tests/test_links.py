"""Links lead somewhere: of the built documentation, by ``make docs``, and of Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.links import broken
from tests.support.paths import ROOT


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "map.svg").write_text("")
    (tmp_path / "b.html").write_text('<h1 id="top">B</h1><a href="a.html#one">a</a>')
    (tmp_path / "a.html").write_text(
        '<h1 id="one">A</h1>'
        '<a href="b.html">fine</a><a href="b.html#top">fine</a><a href="#one">fine</a>'
        '<img src="images/map.svg"><a href="https://example.com/#x">of others</a>'
        '<a href="b.html#bottom">x</a><a href="#two">x</a><a href="c.html">x</a>'
        '<img src="images/none.png"><a href="http://example.com/">x</a>'
    )
    assert list(broken(tmp_path)) == [
        "a.html: b.html#bottom: no such anchor",
        "a.html: #two: no such anchor",
        "a.html: c.html: no such file",
        "a.html: images/none.png: no such file",
        "a.html: http://example.com/: use https://",
    ]


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_markdown(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = [link.partition("#")[0] for link in links if not link.startswith(("https://", "#"))]
    assert [link for link in local if not (page.parent / link).exists()] == []
