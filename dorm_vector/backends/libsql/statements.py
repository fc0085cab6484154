"""
What SQL text contains, found by one tokenizer that passes over the text once.

``sqlparse``, which Django depends on, will not do here: it takes backslashes for escapes and
``#`` for a comment, and needs 1.5 ms for a statement of 400 characters, which takes 0.2 ms here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["Mark", "Statement", "replace_marks", "split", "statement"]

# As SQLite's own tokenizer tells them apart. What repeats is possessive, and what is not closed
# reaches to the end: no character is looked at twice, but those of a row of places that breaks off.
# Rows of places, as an INSERT of thousands has them, are one token: each would take as long. All
# that is past ASCII belongs to words.
TOKEN = re.compile(
    r"""
      (?P<gap>    (?: [ \t\n\f\r]++ | --[^\n]*+ | /\*(?: [^*]++ | \*(?!/) )*+ (?:\*/)? )++ )
    | (?P<quoted> '(?: [^']++ | '' )*+ '? | "(?: [^"]++ | "" )*+ "?
                | `(?: [^`]++ | `` )*+ `? | \[ [^\]]*+ \]? )
    | (?P<row>    \( (?: \? ,[ ]? )*+ \? \) (?: ,[ ]? \( (?: \? ,[ ]? )*+ \? \) )*+ )
    | (?P<mark>   \?[0-9]*+ | [:@$\#](?: [A-Za-z0-9_$\x80-\U0010ffff] | :: )++
                  (?: \( [^() \t\n\f\r]*+ \) )? )
    | (?P<word>   [A-Za-z0-9_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*+ )
    | (?P<open>   \( )
    | (?P<close>  \) )
    | (?P<end>    ; )
    | (?P<sign>   [,.=<>*+|&~!%]++ | . )
    """,
    re.X | re.S,
)

READS = frozenset({"EXPLAIN", "SELECT", "VALUES"})
WRITES = frozenset({"DELETE", "INSERT", "REPLACE", "UPDATE"})

# Where one of several statements ends, which a trigger's body does not do at its semicolons: the
# states of sqlite3_complete(), and what each word makes of them. "" is any other token.
START, NORMAL, EXPLAIN, CREATE, TRIGGER, SEMICOLON, END = range(7)
STATES: dict[int, dict[str, int]] = {
    START: {";": START, "EXPLAIN": EXPLAIN, "CREATE": CREATE, "": NORMAL},
    NORMAL: {";": START, "": NORMAL},
    EXPLAIN: {
        ";": START,
        "CREATE": CREATE,
        **dict.fromkeys(("EXPLAIN", "TEMP", "TEMPORARY", "TRIGGER", "END"), NORMAL),
        "": EXPLAIN,
    },
    CREATE: {";": START, "TEMP": CREATE, "TEMPORARY": CREATE, "TRIGGER": TRIGGER, "": NORMAL},
    TRIGGER: {";": SEMICOLON, "": TRIGGER},
    SEMICOLON: {";": SEMICOLON, "END": END, "": TRIGGER},
    END: {";": START, "": TRIGGER},
}

# Longer texts, of many rows, seldom recur.
CACHED_LENGTH = 10_000


class Mark(NamedTuple):
    """A placeholder: its number, from 1 on, and whether it stands in ``IN (...)``."""

    number: int
    is_listed: bool


class Statement(NamedTuple):
    """What is known of one statement."""

    #: The word that says what it does, in capitals; for WITH, the one after the tables. "" is
    #: nothing at all, apart from comments.
    verb: str
    #: How many parameters it takes.
    size: int
    #: The names of parameters, by number.
    names: dict[int, str]
    #: Whether another statement follows.
    is_several: bool

    @property
    def reads(self) -> bool:
        return self.verb in READS

    @property
    def writes(self) -> bool:
        return self.verb in WRITES


class Marks:
    """Numbers the parameters of a statement, as SQLite does."""

    def __init__(self) -> None:
        self.size = 0
        self.names: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text == "?":
            self.size += 1
            return self.size
        number = self._numbers.get(text)
        if number is None:
            has_number = text[0] == "?"
            number = self._numbers[text] = int(text[1:]) if has_number else self.size + 1
            self.size = max(self.size, number)
            if not has_number:
                self.names[number] = text
        return number


def statement(sql: str) -> Statement:
    """Analyse a text that should be one statement."""
    return _cached(sql) if len(sql) <= CACHED_LENGTH else _statement(sql)


def _statement(sql: str) -> Statement:
    marks = Marks()
    verb, before, depth = "", "", 0
    ended = several = False
    state = START
    for token in TOKEN.finditer(sql):
        name = token.lastgroup
        if name == "gap":
            continue
        if name == "end" and not verb:
            continue
        if ended:
            several = several or name != "end"
            continue
        text = token[0]
        if name == "mark":
            marks.number(text)
        elif name == "row":
            marks.size += text.count("?")
            text = ")"
        elif name == "open":
            depth += 1
        elif name == "close":
            depth -= 1
        elif name == "word":
            text = text.upper()
            if verb == "WITH" and before == ")" and depth == 0 and text in READS | WRITES:
                verb = text
        verb = verb or (text if name == "word" else "" if name == "open" else "?")
        state = _next(state, text)
        ended = state == START
        before = text
    return Statement(verb, marks.size, marks.names, several)


_cached = functools.lru_cache(maxsize=512)(_statement)


def _next(state: int, text: str) -> int:
    by_text = STATES[state]
    return by_text.get(text, by_text[""])


def split(script: str) -> Iterator[str]:
    """The statements of a script one by one, without empty ones."""
    start, state, is_empty = 0, START, True
    for token in TOKEN.finditer(script):
        if token.lastgroup == "gap":
            continue
        state = _next(state, token[0].upper() if token.lastgroup == "word" else token[0])
        is_empty = is_empty and token.lastgroup == "end"
        if state == START:
            if not is_empty:
                yield script[start : token.end()]
            start, is_empty = token.end(), True
    if not is_empty:
        yield script[start:]


def replace_marks(sql: str, replacement: Callable[[Mark], str]) -> str:
    """The same text with each parameter replaced."""
    marks = Marks()
    # For each open parenthesis, whether it is a list of IN.
    lists = [False]
    parts: list[str] = []
    before = ""
    for token in TOKEN.finditer(sql):
        text, name = token[0], token.lastgroup
        if name == "open":
            lists.append(before == "IN")
        elif name == "close" and len(lists) > 1:
            lists.pop()
        elif name == "row":
            is_listed = before == "IN"
            for sign in text:
                if sign == "?":
                    sign = replacement(Mark(marks.number("?"), is_listed))
                elif sign == ")":
                    is_listed = False
                parts.append(sign)
            text = ""
        elif name == "mark":
            text = replacement(Mark(marks.number(text), lists[-1]))
        if name != "gap":
            before = text.upper() if name == "word" else ""
        parts.append(text)
    return "".join(parts)
