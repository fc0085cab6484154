"""
Tests that may end without having tested anything: ``python -m tests.lint [files...]``.

A test that does not apply somewhere is not made for it (tests/support/matrix.py), or is skipped by
name. So in a test function ``return`` is refused, and assertions that all stand below an ``if``
without an ``else``. Modules of tests do not import each other: what they share lies in
tests/support.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
RETURN = "returns: parametrize the test by what applies, or skip it by name"
IMPORT = "is imported: what modules of tests share lies in tests/support"
CONDITIONAL = "asserts only below an if: parametrize the test by what applies, or write the else"
# A scope of their own: what stands in them does not end the test.
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
EXPECTED = {"raises", "warns", "fail"}


def tests_in(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def parts(node: ast.AST) -> list[ast.AST]:
    return [part for part in ast.iter_child_nodes(node) if not isinstance(part, SCOPES)]


def inside(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a node, without the functions and classes in it."""
    for part in parts(node):
        yield part
        yield from inside(part)


def is_assertion(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return name in EXPECTED or name.startswith(("assert", "check"))
    return isinstance(node, ast.Assert)


def asserts(node: ast.AST) -> bool:
    return is_assertion(node) or any(map(is_assertion, inside(node)))


def asserts_always(node: ast.AST) -> bool:
    """Whether an assertion in a statement is reached whichever branches are taken."""
    if isinstance(node, ast.If):
        return all(any(map(asserts_always, branch)) for branch in (node.body, node.orelse))
    return is_assertion(node) or any(map(asserts_always, parts(node)))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The lines that import, and the dotted names of what they import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The lines of a module of tests, and what is wrong there."""
    for line, name in imported(tree):
        if name.startswith("tests.") and ".test_" in name:
            yield line, f"{name} {IMPORT}"
    for test in tests_in(tree):
        for node in inside(test):
            if isinstance(node, ast.Return):
                yield node.lineno, f"{test.name} {RETURN}"
        if any(map(asserts, test.body)) and not any(map(asserts_always, test.body)):
            yield test.lineno, f"{test.name} {CONDITIONAL}"


def main(paths: list[str]) -> int:
    files = [Path(path) for path in paths] or sorted((ROOT / "tests").rglob("*.py"))
    found = [
        f"{path}:{line}: {fault}"
        for path in files
        for line, fault in faults(ast.parse(path.read_text()))
    ]
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
