"""
Real text: the paragraphs of the docstrings of the standard library and of the packages installed.

Nothing is imported: sources are parsed, in a minute or two. Paragraphs and their vectors, of
wordllama's 256 dimensions, are kept in the folder for temporary files, since embedding 100,000
takes half a minute. Where there are fewer paragraphs than wanted, all of them are used.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["DIMENSIONS", "Corpus", "corpus", "passages"]

DIMENSIONS = 256
# What is shorter says little, and what is longer are tables.
SHORTEST, LONGEST = 40, 4000
BATCH = 4096
# The standard library alone has as many, and is parsed in seconds.
FEW = 10_000
SENTENCE_ENDS = re.compile(r"(?<=[.!?:;])\s+")
LONGEST_WINDOW = 3


class Corpus(NamedTuple):
    """Where each paragraph is from, the paragraphs, and a row of numbers for each."""

    titles: list[str]
    texts: list[str]
    vectors: Any


def corpus(count: int = 100_000) -> Corpus:
    """The first ``count`` paragraphs in an order that is the same on every run."""
    import numpy as np

    cache = kept("library" if count <= FEW else "corpus", count)
    if not cache.exists():
        given = sources(("stdlib",) if count <= FEW else ("stdlib", "purelib"))
        found = dict(pair for path, module in given for pair in paragraphs(path, module))
        texts = shuffled(found)[:count]
        pairs = json.dumps([(found[text], text) for text in texts]).encode()
        np.savez(cache, pairs=np.frombuffer(pairs, "u1"), vectors=embedded(texts))
    with np.load(cache) as made:
        titles, texts = zip(*json.loads(made["pairs"].tobytes()), strict=True)
        return Corpus(list(titles), list(texts), made["vectors"])


def passages(count: int) -> Any:
    """
    The vectors of at most ``count`` texts, as those that cut documents with an overlap have.

    Paragraphs, and all of one, two and three sentences of one that follow each other.
    """
    import numpy as np

    cache = kept("passages", count)
    if not cache.exists():
        given = sources(("stdlib",) if count <= 4 * FEW else ("stdlib", "purelib"))
        found = {text for path, module in given for text, _ in paragraphs(path, module)}
        texts = {part for text in found for part in (text, *windows(text))}
        np.savez(cache, vectors=embedded(shuffled(texts)[:count]))
    with np.load(cache) as made:
        return made["vectors"]


def windows(text: str) -> Iterator[str]:
    sentences = SENTENCE_ENDS.split(text)
    for length in range(1, LONGEST_WINDOW + 1):
        for start in range(len(sentences) - length + 1):
            window = " ".join(sentences[start : start + length])
            if len(window) >= SHORTEST:
                yield window


def shuffled(texts: Iterable[str]) -> list[str]:
    """In an order that is the same on every run, and which has nothing to do with the texts."""
    return sorted(texts, key=lambda text: hashlib.md5(text.encode()).digest())


def kept(kind: str, count: int) -> Path:
    # Made once for a version of Python: what is installed besides may change, and is parsed slowly.
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    return Path(tempfile.gettempdir(), f"dorm_vector_{kind}_{count}_{version}.npz")


def embedded(texts: list[str]) -> Any:
    import numpy as np

    from example_project.library.embedding import embed

    batches = (embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH))
    return np.asarray([vector for batch in batches for vector in batch], dtype="f4")


def sources(places: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Each file, and the name of its module."""
    for folder in (Path(sysconfig.get_path(place)) for place in places):
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if "site-packages" not in inside.parts:
                yield path, ".".join(inside.with_suffix("").parts)


def paragraphs(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Each paragraph of a file, and the name of what it documents."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # templates, and tests of parsers
        return
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    for node in ast.walk(tree):
        doc = ast.get_docstring(node) if isinstance(node, kinds) else None
        name = f"{module}.{getattr(node, 'name', '')}".rstrip(".")
        for paragraph in inspect.cleandoc(doc or "").split("\n\n"):
            text = " ".join(paragraph.replace("\0", " ").split())
            if SHORTEST <= len(text) <= LONGEST and text.isprintable():
                yield text, name[:200]


if __name__ == "__main__":
    made = corpus(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(f"{len(made.texts):,} paragraphs, {sum(map(len, made.texts)) / 1e6:.1f} million letters")
