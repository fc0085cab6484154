"""
The imports of the package, read from its source: ``python -m tests.support.imports`` counts them.

An import inside a function is one like any other: it only hides a circle until it is called. One
under ``TYPE_CHECKING`` never runs: it makes no circle and needs no extra, but it is knowledge all
the same, and so may not leave the package's folder.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PACKAGE = "dorm_vector"


class When(enum.Enum):
    """When an import runs."""

    AT_IMPORT = "at import"
    IN_FUNCTION = "inside a function"
    NEVER = "under TYPE_CHECKING"


class Import(NamedTuple):
    module: str
    imported: str
    line: int
    when: When
    #: Whether there is an ``except`` for what cannot be imported.
    may_fail: bool


def modules() -> dict[str, Path]:
    """The modules of the package by name."""
    return {_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports() -> list[Import]:
    """All imports of the package, of its own modules by the module that is meant."""
    known = modules()
    return [
        each._replace(imported=_module_of(each.imported, known))
        for module, path in known.items()
        for each in imports_of(module, ast.parse(path.read_text()))
    ]


def _module_of(imported: str, known: Iterable[str]) -> str:
    """``from package import name`` imports a module, or something from one."""
    if imported.partition(".")[0] != PACKAGE or imported in known:
        return imported
    return imported.rpartition(".")[0]


def imports_of(module: str, tree: ast.AST) -> Iterator[Import]:
    """The imports of a module; relative ones there are none (see the test)."""
    yield from _imports_in(module, tree, When.AT_IMPORT, may_fail=False)


def _imports_in(module: str, node: ast.AST, when: When, *, may_fail: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for name in _imported(child):
            yield Import(module, name, child.lineno, when, may_fail)  # type: ignore[attr-defined]
        fails = may_fail or (isinstance(child, ast.Try) and bool(child.handlers))
        yield from _imports_in(module, child, _when(child, when), may_fail=fails)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names]
    return []


def _when(node: ast.AST, outer: When) -> When:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return When.NEVER
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return outer if outer is When.NEVER else When.IN_FUNCTION
    return outer


def graph(found: Iterable[Import]) -> dict[str, set[str]]:
    """The modules of the package that each module imports."""
    arrows: dict[str, set[str]] = {module: set() for module in modules()}
    for each in found:
        if each.imported in arrows and each.imported != each.module:
            arrows[each.module].add(each.imported)
    return arrows


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules of which each imports all others, directly or not."""
    reached = {module: _reached(module, arrows) for module in arrows}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in arrows
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def _reached(module: str, arrows: dict[str, set[str]]) -> set[str]:
    found, waiting = {module}, [module]
    while waiting:
        for other in arrows[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def main() -> None:
    found = imports()
    for names in (("AT_IMPORT",), ("AT_IMPORT", "IN_FUNCTION"), tuple(When.__members__)):
        arrows = graph(each for each in found if each.when.name in names)
        print(*names, sum(map(len, arrows.values())), "arrows, circles:", circles(arrows))


if __name__ == "__main__":
    main()
