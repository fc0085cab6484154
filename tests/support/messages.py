"""
The messages of the package, read from its source.

A message is a text that a ``raise``, a warning or a check has in it, or any other text that ends
like a sentence: such are returned by functions, or stand in tables, before they are raised. What
varies is written as ``…``. Hints of checks and the help of commands are none.

``python -m tests.support.messages`` puts messages that were reworded into docs/troubleshooting.rst,
and prints those that need an entry of their own.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import dorm_vector
from tests.support.paths import DOCS

__all__ = ["ENTRY", "PAGE", "entries", "messages", "normal", "texts"]

PAGE = DOCS / "troubleshooting.rst"
#: The messages of one entry, and the beginning of what it says of them.
ENTRY = re.compile(r"^\.\. message:: (.+(?:\n {13}\S.*)*)\n\n   \S", re.MULTILINE)

PACKAGE = Path(dorm_vector.__file__).parent
#: What follows these words in a call is for another reader.
NOT_MESSAGES = {"hint", "help", "description", "help_text"}
#: Reasons why tests of Django are skipped.
LEFT_OUT = {"backends/libsql/features.py"}
VARYING = re.compile(r"\{[^{}]*\}|%\(\w+\)[srd]|%[srd]")
RAISED = re.compile(r"(Error|Warning|Exception|Invalid|Missing\w*)$|^(warn|Error|Warning|Info)$")


def messages() -> dict[str, str]:
    """Each message in its normal form, with the first place that has it, as ``file:line``."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in LEFT_OUT:
            for line, text in texts(ast.parse(path.read_text())):
                found.setdefault(normal(text), f"{name}:{line}")
    return found


def entries() -> list[str]:
    """The messages that the page has."""
    return [
        line.strip() for found in ENTRY.findall(PAGE.read_text()) for line in found.splitlines()
    ]


def normal(text: str) -> str:
    """A message with ``…`` for what varies, and one space wherever there is any."""
    text = " ".join(VARYING.sub("…", text).split())
    return re.sub(r"…(?:…| …)+", "…", text)


def texts(node: ast.AST, raised: bool = False) -> Iterator[tuple[int, str]]:
    """The messages below a node; ``raised`` says whether that is a part of what is raised."""
    text = _text(node)
    if text is not None:
        if _is_sentence(text) or (raised and _has_words(text)):
            yield node.lineno, text  # type: ignore[attr-defined]
        return
    for child in _children(node):
        yield from texts(child, raised or _raises(node))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    documented = isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    )
    for place, child in enumerate(ast.iter_child_nodes(node)):
        if isinstance(child, ast.keyword) and child.arg in NOT_MESSAGES:
            continue
        if isinstance(child, ast.Assign) and _named(child.targets[0]) in NOT_MESSAGES:
            continue
        if documented and isinstance(child, ast.Expr) and _text(child.value) is not None:
            continue
        if isinstance(node, ast.Call) and _named(node.func) in ("cast", "TypeVar") and place < 2:
            continue
        yield child


def _raises(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and RAISED.search(_named(node.func)) is not None


def _named(node: ast.AST) -> str:
    return getattr(node, "attr", None) or getattr(node, "id", "")


def _text(node: ast.AST) -> str | None:
    """The text of a literal, an f-string, a sum of these or one that is formatted by ``%``."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None and right is None else (left or "…") + (right or "…")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _text(node.left)
    return None


def _is_sentence(text: str) -> bool:
    return text.endswith(".") and _has_words(text)


def _has_words(text: str) -> bool:
    return len(re.findall(r"[a-z]{2,}", VARYING.sub("", text))) >= 2 and " " in text.strip()


def main() -> None:
    """Reword the entries of messages that are hardly others, and print what is left to be done."""
    found, written = messages(), entries()
    missing, stale = found.keys() - {*written}, {*written} - found.keys()
    alike = sorted(
        (
            (difflib.SequenceMatcher(None, old, new).ratio(), old, new)
            for old in stale
            for new in missing
        ),
        reverse=True,
    )
    page = PAGE.read_text()
    for ratio, old, new in alike:
        if ratio > 0.6 and old in stale and new in missing:
            stale.remove(old)
            missing.remove(new)
            page = re.sub(
                rf"(?m)^(\.\. message:: | {{13}}){re.escape(old)}$", rf"\g<1>{_escaped(new)}", page
            )
            print(f"- {old}\n+ {new}")
    PAGE.write_text(page)
    for text in sorted(missing):
        print(f"without an entry: {text} ({found[text]})")
    for text in sorted(stale):
        print(f"no message: {text}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\")


if __name__ == "__main__":
    main()
