"""Sixty texts, what is searched in them, and a search for words in plain Python."""

from __future__ import annotations

import math
import re
from collections import Counter

from dorm_vector.search.stop_words import STOP_WORDS

__all__ = ["DIFFERENCES", "FORMS", "SEARCHES", "TEXTS", "bm25", "hits", "stems"]

TEXTS = """
A cat sat on the mat.
Two cats are sitting on a wall.
The dog chased the cat around the garden.
Dogs bark; cats do not.
The cat's mat is red.
Gardens need water, and gardeners need tea.
She waters the garden every morning.
The red wall of the old garden
Reading a book in the garden
He reads books about dogs and horses.
The bookshop sells used books.
A horse, a horse, my kingdom for a horse!
Horses run faster than dogs.
The runner ran a long race.
Running water is a luxury.
Races are run in the morning.
Tea in the morning, coffee at night
Late news about the race
The kingdom of the blind
Blindly following the rules
functools.singledispatch makes a generic function.
Use functools.lru_cache to cache results.
The functions of os.path join paths.
os.path.join(a, b) joins two parts.
EAGAIN means: try again.
Trying again and again raises EAGAIN or EWOULDBLOCK.
The format %Y-%m-%d gives 2024-01-31.
Dates like 2024-01-31 are sorted as text.
Version 3.14 was released on a Tuesday.
Python 3.14.1 fixes what 3.14 broke.
The e-mail was sent to bob@example.com.
Email and e-mail are the same thing.
State-of-the-art engines
The art of the state
C++ and C# are not C.
A/B tests, and tests of B
TCP/IP is a family of protocols.
Protocol-oriented design
The snake_case of PEP-8
snake charmers and their cases
"Quoted words" stay quoted.
(Parentheses) [brackets] {braces}
Price: $99.99 (was $149.50)
50% of users use 50 percent.
Hash tables map keys to values.
A table of hashes, and a key
The mapping of keys onto tables
Sorting algorithms sort lists.
A sorted list is a list that was sorted.
Threads share memory; processes do not.
A thread of the discussion
Processing images in processes
The queue is empty.
Queues and stacks
Stack overflow in the stack of calls
Calling a function calls its code.
Codes and ciphers
encoding='utf-8' is the default encoding.
The defaults of the encoder
No stopword is an island.
""".strip().split("\n")

# Which forms are one word, of those that occur. Snowball's stemmer and Porter's agree on them.
FORMS = {
    "cats": "cat",
    "dogs": "dog",
    "gardens": "garden",
    "gardeners": "garden",
    "waters": "water",
    "reads": "read",
    "reading": "read",
    "books": "book",
    "horses": "horse",
    "races": "race",
    "running": "run",
    "sitting": "sit",
    "rules": "rule",
    "functions": "function",
    "paths": "path",
    "joins": "join",
    "parts": "part",
    "dates": "date",
    "sorted": "sort",
    "sorting": "sort",
    "lists": "list",
    "tests": "test",
    "tables": "table",
    "keys": "key",
    "values": "value",
    "hashes": "hash",
    "mapping": "map",
    "algorithms": "algorithm",
    "threads": "thread",
    "processes": "process",
    "processing": "process",
    "images": "image",
    "queues": "queue",
    "stacks": "stack",
    "calls": "call",
    "calling": "call",
    "codes": "code",
    "encoding": "encod",
    "encoder": "encod",
    "defaults": "default",
    "trying": "try",
    "cases": "case",
    "users": "user",
    "used": "use",
    "engines": "engine",
    "protocols": "protocol",
    "words": "word",
    "quoted": "quot",
    "results": "result",
    "makes": "make",
    "sells": "sell",
}

#: What is typed, as alternatives of what is wanted and what is excluded.
SEARCHES: dict[str, list[tuple[list[str], list[str]]]] = {
    "cat": [(["cat"], [])],
    "CATS": [(["cat"], [])],
    "cat dog": [(["cat", "dog"], [])],
    "cat -dog": [(["cat"], ["dog"])],
    "the cat": [(["cat"], [])],
    "cat or horse": [(["cat"], []), (["horse"], [])],
    "red garden or night": [(["red", "garden"], []), (["night"], [])],
    "garden water -tea": [(["garden", "water"], ["tea"])],
    '"red wall"': [(["red wall"], [])],
    '"wall red"': [(["wall red"], [])],
    "books": [(["book"], [])],
    "reading books": [(["read", "book"], [])],
    "morning": [(["morning"], [])],
    "race run": [(["race", "run"], [])],
    "singledispatch": [(["singledispatch"], [])],
    "functools.lru_cache": [(["functools lru cache"], [])],
    "functools": [(["functools"], [])],
    "os.path.join": [(["os path join"], [])],
    "os.path": [(["os path"], [])],
    "join path": [(["join", "path"], [])],
    "EAGAIN": [(["eagain"], [])],
    "eagain -ewouldblock": [(["eagain"], ["ewouldblock"])],
    "%Y-%m-%d": [(["y m d"], [])],
    "2024-01-31": [(["2024 01 31"], [])],
    "2024": [(["2024"], [])],
    "3.14": [(["3 14"], [])],
    "3.14.1": [(["3 14 1"], [])],
    "e-mail": [(["e mail"], [])],
    "email": [(["email"], [])],
    "bob@example.com": [(["bob example com"], [])],
    "example": [(["example"], [])],
    "snake_case": [(["snake case"], [])],
    "snake": [(["snake"], [])],
    "C++": [(["c"], [])],
    "TCP/IP": [(["tcp ip"], [])],
    "tcp": [(["tcp"], [])],
    "protocol": [(["protocol"], [])],
    "50%": [(["50"], [])],
    "$99.99": [(["99 99"], [])],
    "hash table": [(["hash", "table"], [])],
    '"hash tables"': [(["hash table"], [])],
    "key map": [(["key", "map"], [])],
    "sort list": [(["sort", "list"], [])],
    "thread": [(["thread"], [])],
    "process -image": [(["process"], ["image"])],
    "stack queue": [(["stack", "queue"], [])],
    '"stack overflow" or queue': [(["stack overflow"], []), (["queue"], [])],
    "call function": [(["call", "function"], [])],
    "encoding='utf-8'": [(["encod utf 8"], [])],
    "utf": [(["utf"], [])],
    "default": [(["default"], [])],
    "try again": [(["try"], [])],
    "cat's": [(["cat"], [])],
    '"quoted words"': [(["quot word"], [])],
    "brackets": [(["brackets"], [])],
    "tests -b": [(["test"], ["b"])],
    "island": [(["island"], [])],
    "unicorn": [(["unicorn"], [])],
    "cat or unicorn": [(["cat"], []), (["unicorn"], [])],
    "user use": [(["user", "use"], [])],
}

#: What differs, by the words that are searched and the text: where it is found, and why.
DIFFERENCES = {
    ("sky", "Grey skies"): ({"postgresql"}, "Porter's stemmer makes ski of skies"),
    ("ski", "Grey skies"): ({"sqlite", "libsql"}, "Porter's stemmer makes ski of skies"),
    ("die", "The dying swan"): ({"postgresql"}, "Porter's stemmer makes dy of dying"),
    ("new", "The news at ten"): ({"sqlite", "libsql"}, "Snowball's stemmer leaves news alone"),
    ("sad", "Sadly, it rained"): ({"postgresql"}, "Porter's stemmer makes sadli of sadly"),
    ("cafe", "The café is open"): ({"sqlite", "libsql"}, "PostgreSQL tells accents apart"),
    ("café", "The cafe is open"): ({"sqlite", "libsql"}, "PostgreSQL tells accents apart"),
    ('"cat in the hat"', "The cat on a hat"): (
        {"postgresql"},
        "PostgreSQL has any words where a phrase has words that say nothing",
    ),
}


def stems(text: str) -> list[str]:
    """The words of a text, in the form that they have in common with others."""
    return [FORMS.get(word, word) for word in re.findall(r"[^\W_]+", text.lower())]


def occurrences(phrase: str, words: list[str]) -> int:
    wanted = phrase.split()
    return sum(words[at : at + len(wanted)] == wanted for at in range(len(words)))


def hits(text: str, alternatives: list[tuple[list[str], list[str]]]) -> bool:
    """Whether a text has what one of the alternatives wants, and nothing that it excludes."""
    words = stems(text)
    return any(
        all(occurrences(each, words) for each in wanted)
        and not any(occurrences(each, words) for each in excluded)
        for wanted, excluded in alternatives
    )


def bm25(texts: list[str], phrases: list[str], k1: float = 1.2, b: float = 0.75) -> list[float]:
    """The rank of each text for some words: Okapi BM25, with the inverse document frequency."""
    split = [stems(text) for text in texts]
    average = sum(map(len, split)) / len(split)
    found = Counter(phrase for phrase in phrases for words in split if occurrences(phrase, words))
    ranks = []
    for words in split:
        rank = 0.0
        for phrase in phrases:
            rarity = math.log((len(split) - found[phrase] + 0.5) / (found[phrase] + 0.5))
            often = occurrences(phrase, words)
            length = k1 * (1 - b + b * len(words) / average)
            rank += max(rarity, 1e-6) * often * (k1 + 1) / (often + length)
        ranks.append(rank)
    return ranks


assert not STOP_WORDS["english"] & set(FORMS)
