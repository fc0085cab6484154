"""The parts of the example's page that need no database: marks, links, the map, colours, URLs."""

from __future__ import annotations

import re
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from example_project.library import neighbour_map
from example_project.library.documentation import LIBRARY, url_of
from example_project.library.marking import excerpt, has_words, marked, stems_of
from tests.support.paths import ROOT

TEMPLATES = ROOT / "example_project/library/templates/library"


class TestMarks:
    @pytest.mark.parametrize("text", ["a", "naïve", "日本語", "3", "%d", "x!", "_a_", "🎉 party"])
    def test_words(self, text: str) -> None:
        assert has_words(text)

    @pytest.mark.parametrize("text", ["", "!!!", "%", '"', "🎉", "_", " \t\n", "--", "\0", "+="])
    def test_no_words(self, text: str) -> None:
        assert not has_words(text)

    @pytest.mark.parametrize(
        ("query", "text"),
        [
            ("compress", "compression"),
            ("compressing", "Compressed"),
            ("files", "file"),
            ("running", "runs"),
            ("capture", "capturing"),
            ("copies", "copy"),
            ("processes", "process"),
            ("EAGAIN", "eagain"),
        ],
    )
    def test_forms_of_a_word(self, query: str, text: str) -> None:
        assert marked(text, stems_of(query)) == f"<mark>{text}</mark>"

    def test_words_that_stand_everywhere(self) -> None:
        assert marked("a file of the", stems_of("the file of a")) == "a <mark>file</mark> of the"

    def test_other_words(self) -> None:
        assert marked("pass passage", stems_of("pas")) == "pass passage"

    @pytest.mark.parametrize(
        "text",
        ["<script>alert(1)</script>", "a & b", '"><img src=x onerror="x">', "<mark>x</mark>"],
    )
    def test_everything_is_escaped(self, text: str) -> None:
        found = marked(text, stems_of("script alert img b x mark"))
        assert "<mark>" in found
        # What is left without the marks has no tag, no attribute and no entity of its own.
        rest = re.sub("</?mark>", "", found)
        assert not set('<>"') & set(rest)
        import html

        assert html.unescape(rest) == text

    def test_an_excerpt(self) -> None:
        text = "Nothing here. " * 40 + "Then the file\n  is compressed at once. " + "No more. " * 40
        found = excerpt(text, stems_of("compress file"), 80)
        assert "file is compressed" in found
        assert found.startswith("… ")
        assert found.endswith(" …")
        assert len(found) <= 84
        assert excerpt(text, stems_of("median")) == ""
        assert excerpt("short file", stems_of("file")) == "short file"


class TestLinks:
    @pytest.mark.parametrize(
        ("name", "module", "address"),
        [
            ("bz2.compress", "bz2", "bz2.html#bz2.compress"),
            ("len", "builtins", "functions.html#len"),
            ("int", "builtins", "functions.html#int"),
            ("int.bit_length", "builtins", "stdtypes.html#int.bit_length"),
            ("str.split", "builtins", "stdtypes.html#str.split"),
            ("zip", "builtins", "functions.html#zip"),
            ("ValueError", "builtins", "exceptions.html#ValueError"),
            ("OSError.add_note", "builtins", "exceptions.html#OSError.add_note"),
            ("os.path.join", "os.path", "os.path.html#os.path.join"),
            ("os.walk", "os", "os.html#os.walk"),
            ("asyncio.Task.cancel", "asyncio", "asyncio-task.html#asyncio.Task.cancel"),
            ("asyncio.run", "asyncio", "asyncio-runner.html#asyncio.run"),
            ("xml.etree.ElementTree.parse", "xml.etree.ElementTree",
             "xml.etree.elementtree.html#xml.etree.ElementTree.parse"),
            ("importlib.abc.Loader", "importlib.abc", "importlib.html#importlib.abc.Loader"),
            ("cProfile.run", "cProfile", "profile.html#cProfile.run"),
            ("unittest.mock.patch", "unittest.mock", "unittest.mock.html#unittest.mock.patch"),
            ("a b.<c>", "x", "a%20b.html#a%20b.%3Cc%3E"),
        ],
    )  # fmt: skip
    def test_addresses(self, name: str, module: str, address: str) -> None:
        assert url_of(SimpleNamespace(name=name, module=module)) == LIBRARY + address


class TestMap:
    def test_the_projection(self) -> None:
        """Against the eigenvectors of the covariance."""
        rows = np.random.default_rng(4).normal(size=(12, 30))
        places, share = neighbour_map.project(rows)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        centred = unit - unit.mean(axis=0)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        expected = centred @ vectors[:, [-1, -2]]
        np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-12)
        assert share == pytest.approx((values[-1] + values[-2]) / values.sum())
        assert (places.max(axis=0) >= -places.min(axis=0)).all()

    def test_two_dimensions_are_shown_whole(self) -> None:
        turn = np.linspace(0, 5, 6)
        _, share = neighbour_map.project(np.c_[np.cos(turn), np.sin(turn), np.zeros((6, 7))])
        assert share == pytest.approx(1)

    def draw(self, vectors: np.ndarray) -> neighbour_map.Map | None:
        names = [f"package.module{number}.function" for number in range(len(vectors))]
        spots = zip([None, *range(1, len(vectors))], names, vectors, strict=True)
        return neighbour_map.draw([neighbour_map.Spot(*spot) for spot in spots])

    @pytest.mark.parametrize("seed", range(5))
    def test_nothing_overlaps_or_leaves_the_picture(self, seed: int) -> None:
        drawn = self.draw(np.random.default_rng(seed).normal(size=(21, 256)))
        assert drawn is not None
        assert [point.number for point in drawn.points] == [None, *range(1, 21)]
        for point in drawn.points:
            assert drawn.radius <= point.x <= drawn.width - drawn.radius
            assert drawn.radius <= point.y <= drawn.height - drawn.radius
        for one, other in combinations(drawn.points, 2):
            assert np.hypot(one.x - other.x, one.y - other.y) > 2 * drawn.radius - 1
        assert sum(bool(point.label) for point in drawn.points) >= 5

    def test_many_at_one_place(self) -> None:
        vectors = np.ones((9, 8))
        vectors[0, 0] = 5
        drawn = self.draw(vectors)
        assert drawn is not None
        places = {(point.x, point.y) for point in drawn.points}
        assert len(places) == 9

    @pytest.mark.parametrize(
        "vectors", [np.ones((1, 4)), np.ones((2, 4)), np.ones((5, 4)), np.zeros((4, 4))]
    )
    def test_no_map(self, vectors: np.ndarray) -> None:
        assert self.draw(vectors) is None

    def test_the_same_vectors_give_the_same_picture(self) -> None:
        vectors = np.random.default_rng(1).normal(size=(8, 16))
        assert self.draw(vectors) == self.draw(vectors.copy())


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


class TestColours:
    SCHEMES = [
        dict(re.findall(r"--(\w+): (#\w+)", block))
        for block in re.findall(
            r":root \{(.*?)\}", (TEMPLATES / "style.css").read_text(), re.DOTALL
        )
    ]

    def test_black_and_white(self) -> None:
        assert contrast("#fff", "#000000") == pytest.approx(21)

    def test_both_schemes_name_the_same_colours(self) -> None:
        light, dark = self.SCHEMES
        assert light.keys() == dark.keys()

    @pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
    @pytest.mark.parametrize(
        ("text", "ground"),
        [
            *(
                (text, ground)
                for text in ("ink", "quiet", "accent", "wrong")
                for ground in ("paper", "field")
            ),
            *((text, "notice") for text in ("ink", "quiet", "accent")),
            ("ink", "mark"),
            ("paper", "accent"),
            ("ink", "track"),
        ],
    )
    def test_text(self, scheme: dict[str, str], text: str, ground: str) -> None:
        assert contrast(scheme[text], scheme[ground]) >= 4.5

    @pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
    @pytest.mark.parametrize("line", ["edge", "accent", "wrong"])
    @pytest.mark.parametrize("ground", ["paper", "field", "notice"])
    def test_borders_and_focus(self, scheme: dict[str, str], line: str, ground: str) -> None:
        assert contrast(scheme[line], scheme[ground]) >= 3
