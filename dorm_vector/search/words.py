"""
What a person types into a search box, as words, phrases and what is excluded.

No database takes part, and no text is refused: anything but letters and digits separates words, and
means nothing except for where a phrase begins, or what is excluded.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

__all__ = ["Alternative", "TextQuery", "Unit", "parse", "words_of"]

#: How many words of a text count. More than that is no search, and databases have limits.
MAX_WORDS = 256
#: How many parts of words count: each is searched for by itself.
MAX_PARTS = 32
#: The longest word that counts, in characters: PostgreSQL keeps none of 2,047 bytes and more.
MAX_WORD = 500

# Quotation marks of keyboards and phones.
QUOTES = str.maketrans(dict.fromkeys("“”„‟«»", '"'))
# A phrase, whose closing quotation mark may be missing, or text between white space.
CHUNK = re.compile(r'(?P<minus>-?)"(?P<phrase>[^"]*)(?:"|$)|(?P<plain>[^\s"]+)')

#: The words of a phrase, or the one word of it.
Unit = tuple[str, ...]


class Alternative(NamedTuple):
    """What a row must contain, all of it, and what it must not contain."""

    wanted: tuple[Unit, ...]
    excluded: tuple[Unit, ...] = ()


class TextQuery(NamedTuple):
    """What was typed: a row matches if it meets one of the alternatives."""

    alternatives: tuple[Alternative, ...]

    @property
    def wanted(self) -> tuple[Unit, ...]:
        """What is wanted in any of the alternatives, each once."""
        return _each_once(unit for one in self.alternatives for unit in one.wanted)

    @property
    def excluded(self) -> tuple[Unit, ...]:
        """What is excluded in any of the alternatives, each once."""
        return _each_once(unit for one in self.alternatives for unit in one.excluded)

    def without(self, stop_words: frozenset[str]) -> TextQuery:
        """The same without stop words, except within phrases."""
        if not stop_words:
            return self
        made = (
            Alternative(*(_stripped(units, stop_words) for units in one))
            for one in self.alternatives
        )
        return TextQuery(_each_once(one for one in made if one.wanted))


def _stripped(units: tuple[Unit, ...], stop_words: frozenset[str]) -> tuple[Unit, ...]:
    kept = []
    for unit in units:
        places = [place for place, word in enumerate(unit) if word.lower() not in stop_words]
        if places:
            kept.append(unit[places[0] : places[-1] + 1])
    return _each_once(iter(kept))


class Chunk(NamedTuple):
    unit: Unit
    excluded: bool = False
    is_or: bool = False


def parse(text: str, *, split: bool = True) -> TextQuery:
    """
    What a text asks for.

    All words are wanted; ``"several words"`` one after the other, like those of ``e-mail`` and
    ``os.path``; ``-word`` and ``-"a phrase"`` are excluded. ``or``, of any case,
    parts alternatives where something stands before it and after it. Alternatives that only
    exclude find nothing. Without ``split`` words and phrases stay as they are typed, punctuation
    included, for indexes of parts of words. Takes time in proportion to the length of the text.
    """
    alternatives: list[list[Chunk]] = [[]]
    chunks = list(_chunks(text, *((words_of, MAX_WORDS) if split else (whole_of, MAX_PARTS))))
    for place, chunk in enumerate(chunks):
        between = 0 < place < len(chunks) - 1 and bool(alternatives[-1])
        if chunk.is_or and between:
            alternatives.append([])
        else:
            alternatives[-1].append(chunk)
    made = (_alternative(each) for each in alternatives)
    return TextQuery(_each_once(each for each in made if each.wanted))


def _alternative(chunks: list[Chunk]) -> Alternative:
    return Alternative(
        _each_once(each.unit for each in chunks if not each.excluded),
        _each_once(each.unit for each in chunks if each.excluded),
    )


def _each_once(given: Iterator[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(given))


def _chunks(text: str, words: Callable[[str], Iterator[str]], left: int) -> Iterator[Chunk]:
    """The parts of a text that have words, until the number of words is used up."""
    for found in CHUNK.finditer(text.translate(QUOTES)):
        chunk = _chunk(found, words)
        unit = chunk.unit[:left]
        if unit:
            yield chunk._replace(unit=unit)
        left -= len(unit)
        if not left:
            return


def _chunk(found: re.Match[str], words: Callable[[str], Iterator[str]]) -> Chunk:
    if (phrase := found["phrase"]) is not None:
        return Chunk(tuple(words(phrase)), bool(found["minus"]))
    plain = found["plain"]
    excluded = len(plain) > 1 and plain[0] == "-" and _is_of_word(plain[1])
    return Chunk(tuple(words(plain[excluded:])), excluded, plain.lower() == "or")


def whole_of(text: str) -> Iterator[str]:
    """A text unchanged if it has a word; no database has NUL or half characters."""
    kept = "".join(each for each in text if each != "\0" and unicodedata.category(each) != "Cs")
    whole = kept.strip()
    if len(whole) <= MAX_WORD and any(words_of(whole)):
        yield unicodedata.normalize("NFC", whole)


def words_of(text: str) -> Iterator[str]:
    """The words of a text: letters, digits, and the marks that belong to them."""
    for of_word, characters in groupby(text, _is_of_word):
        # A mark belongs to the letter before it, and is not a word of its own.
        word = "".join(characters) if of_word else ""
        # Long ones are not normalized: that takes the square of the number of marks.
        if word and len(word) <= MAX_WORD and not all(map(_is_mark, word)):
            yield unicodedata.normalize("NFC", word)


@functools.lru_cache(maxsize=4096)
def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" or unicodedata.category(character) == "Co"


@functools.lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"
