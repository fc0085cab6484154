"""The words of a text, and a text with some of them marked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

__all__ = ["excerpt", "has_words", "marked", "stems_of"]

WORD = re.compile(r"[^\W_]+")
# Words that stand everywhere: to mark them would be no help.
EVERYWHERE = """
    a an and are as at be by for from has have how i if in into is it its no not of on or that
    the their then there these this to was what when where which who why will with you
"""
# What English appends to a word. The longest that fits is taken off, once.
ENDINGS = (
    "ations",
    "ation",
    "ings",
    "ions",
    "ing",
    "ion",
    "ers",
    "ies",
    "ed",
    "er",
    "es",
    "e",
    "s",
    "y",
)
SHORTEST = 3


def has_words(text: str) -> bool:
    """Whether there is a letter or a digit in a text, in any writing."""
    return WORD.search(text) is not None


def stems_of(text: str) -> frozenset[str]:
    """What the words of a text have in common with their other forms: what is to be marked."""
    words = (word.lower() for word in WORD.findall(text))
    return frozenset(stem(word) for word in words if word not in EVERYWHERE.split())


def stem(word: str) -> str:
    """
    A word without its ending, so that "compressed" and "compression" are marked for "compress".

    The databases have stemmers of their own, which decide what is found. This one only marks.
    """
    if word.endswith("ss"):
        return word
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST:
            rest = word.removesuffix(ending)
            doubled = rest[-1] == rest[-2] and rest[-1] not in "lsz"
            return rest[:-1] if doubled else rest
    return word


def marked(text: str, stems: frozenset[str]) -> SafeString:
    """``text`` as HTML, the words with these stems in ``<mark>``; all of it is escaped."""
    return mark_safe("".join(_pieces(text, stems)))  # noqa: S308


def _pieces(text: str, stems: frozenset[str]) -> Iterator[str]:
    end = 0
    for match in _found(text, stems):
        yield escape(text[end : match.start()])
        yield format_html("<mark>{}</mark>", match[0])
        end = match.end()
    yield escape(text[end:])


def _found(text: str, stems: frozenset[str]) -> Iterator[re.Match[str]]:
    return (match for match in WORD.finditer(text) if stem(match[0].lower()) in stems)


def excerpt(text: str, stems: frozenset[str], width: int = 220) -> str:
    """The part of a text, about ``width`` characters, with the most of these stems; or nothing."""
    found = [(match.start(), stem(match[0].lower())) for match in _found(text, stems)]
    if not found:
        return ""
    best = max(
        (start for start, _ in found),
        key=lambda start: (len({each for at, each in found if 0 <= at - start < width}), -start),
    )
    return _cut(text, max(0, best - width // 4), width)


def _cut(text: str, start: int, width: int) -> str:
    """From the word at ``start`` on, in one line."""
    if start:
        start = text.find(" ", start) + 1 or start
    end = min(len(text), start + width)
    if end < len(text):
        end = max(text.rfind(" ", start, end), start + width // 2)
    line = " ".join(text[start:end].split())
    return f"{'… ' if start else ''}{line}{' …' if end < len(text) else ''}"
