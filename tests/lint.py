"""
Tests that may end without having tested anything, and pages that Sphinx could not build.

``python -m tests.lint [files...]``; without files it reads all tests and ``docs/*.rst``.

A test that does not apply somewhere is not made for it (tests/support/matrix.py), or is skipped by
name. So in a test function ``return`` is refused, and assertions that all stand below an ``if``
without an ``else``. Modules of tests do not import each other: what they share lies in
tests/support. Of pages it finds in a second what ``make docs`` needs a minute for: tables and
markup that docutils cannot read, and references without a text to labels that have no title.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from docutils import core, nodes

ROOT = Path(__file__).parent.parent
RETURN = "returns: parametrize the test by what applies, or skip it by name"
IMPORT = "is imported: what modules of tests share lies in tests/support"
CONDITIONAL = "asserts only below an if: parametrize the test by what applies, or write the else"
UNTITLED = "is referred to without a text, and stands before no title"
# What Sphinx brings along.
SPHINX = re.compile(r'Unknown (interpreted|directive)|No (role|directive) entry|in "code-block"')
LABEL = re.compile(r"^\.\. _([\w-]+):\n+(?:\.\. _.+:\n+)*(?P<next>.+\n.+)?", re.M)
TITLED = re.compile(r"(?:.+\n([=\-~^\"'])\1+$)|\.\. (?:figure|table|list-table|code-block)::.*")
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


def page_faults(
    text: str, referred: set[str], path: Path | None = None
) -> Iterator[tuple[int, str]]:
    """The lines of a page, and what is wrong there; ``referred`` are labels without a text."""
    settings = {"report_level": 5}
    document = core.publish_doctree(text, path and str(path), settings_overrides=settings)
    for message in document.findall(nodes.system_message):
        said = message.children[0].astext().partition("\n")[0] if message.children else ""
        if message["level"] > 1 and not SPHINX.search(said):
            yield message.get("line", 1), said
    for label in LABEL.finditer(text):
        if label[1] in referred and not TITLED.match(label["next"] or ""):
            yield text.count("\n", 0, label.start()) + 1, f"{label[1]} {UNTITLED}"


def faults_of_pages(pages: list[Path]) -> Iterator[str]:
    texts = {page: page.read_text() for page in pages}
    referred = set(re.findall(r":ref:`([\w-]+)`", "".join(texts.values())))
    for page, text in texts.items():
        yield from (f"{page}:{line}: {fault}" for line, fault in page_faults(text, referred, page))


def main(paths: list[str]) -> int:
    files = [Path(path) for path in paths] or sorted((ROOT / "tests").rglob("*.py"))
    found = [
        f"{path}:{line}: {fault}"
        for path in files
        for line, fault in faults(ast.parse(path.read_text()))
    ]
    if not paths:
        found += faults_of_pages(sorted((ROOT / "docs").glob("*.rst")))
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
