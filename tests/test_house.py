"""How large things may grow, and what public signatures may leave unsaid."""

from __future__ import annotations

import ast
from typing import Any, overload

from tests.support.paths import ROOT
from tests.support.sizes import (
    functions,
    lines_of_files,
    median,
    public_signatures,
    says_any,
)

FILE, FUNCTION, MEDIAN, ANY = 400, 40, 5, 1 / 5
NAMES = ("postgresql", "sqlite", "libsql")
# Functions that are longer, and why.
LONGER = {"dorm_vector.search.hybrid.hybrid": "Its keywords take half of it."}


def test_files_are_read_in_one_sitting() -> None:
    assert {name: lines for name, lines in lines_of_files().items() if lines > FILE} == {}


def test_functions_are_short() -> None:
    found = functions()
    assert median(found) <= MEDIAN
    assert {each.path for each in found if each.lines > FUNCTION} == LONGER.keys()


def test_signatures_say_what_they_take() -> None:
    public = public_signatures()
    assert len(public) > 50
    saying = [name for name, function in public.items() if says_any(function)]
    assert len(saying) < ANY * len(public), saying


def test_engines_alone_are_called_by_their_names() -> None:
    """Whatever differs by database is asked of the connection's engine."""
    package = ROOT / "dorm_vector"
    named = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in ("engines", "backends")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Constant) and node.value in NAMES)
        or (isinstance(node, ast.Attribute) and node.attr == "vendor")
    ]
    assert named == []


def test_the_map_shows_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## A map of the house")[1]
    package = ROOT / "dorm_vector"
    rooms = {
        path.name for path in package.iterdir() if path.suffix == ".py" and path.stem[0] != "_"
    }
    rooms |= {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    engines = package / "engines"
    rooms |= {f"engines/{p.name}/" for p in engines.iterdir() if (p / "__init__.py").exists()}
    assert sorted(room for room in rooms if f"`{room}" not in text) == []


class TestReading:
    def test_any(self) -> None:
        def one(a: int, *args: str, **kwargs: Any) -> None: ...

        def other(a: Any) -> None: ...

        def third(a: list[Any]) -> Any: ...

        assert [says_any(each) for each in (one, other, third)] == [False, True, True]

    def test_overloads_are_what_is_public(self) -> None:
        @overload
        def one(a: int) -> int: ...
        @overload
        def one(a: str) -> str: ...
        def one(a: Any) -> Any: ...

        assert not says_any(one)

    def test_public(self) -> None:
        public = public_signatures()
        assert {"nearest", "VectorQuerySet.nearest", "Distance.__init__"} <= public.keys()
        assert "AnyVectorField.deconstruct" not in public
