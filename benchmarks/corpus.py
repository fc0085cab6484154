"""
Real text: the paragraphs of the docstrings of the standard library and of the packages installed.

Nothing is imported: sources are parsed. Paragraphs and their vectors, of wordllama's 256
dimensions, are kept in the folder for temporary files, since embedding 100,000 takes half a minute.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["DIMENSIONS", "Corpus", "corpus"]

DIMENSIONS = 256
# What is shorter says little, and what is longer are tables.
SHORTEST, LONGEST = 40, 4000
BATCH = 4096


class Corpus(NamedTuple):
    """Where each paragraph is from, the paragraphs, and a row of numbers for each."""

    titles: list[str]
    texts: list[str]
    vectors: Any


def corpus(count: int = 100_000) -> Corpus:
    """The first ``count`` paragraphs in an order that is the same on every run."""
    import numpy as np

    # Made once for a version of Python: what is installed besides may change, and is parsed slowly.
    name = f"dorm_vector_corpus_{count}_{sys.version_info.major}{sys.version_info.minor}.npz"
    cache = Path(tempfile.gettempdir()) / name
    if not cache.exists():
        found = dict(pair for path, module in sources() for pair in paragraphs(path, module))
        texts = sorted(found, key=lambda text: hashlib.md5(text.encode()).digest())[:count]
        pairs = json.dumps([(found[text], text) for text in texts]).encode()
        np.savez(cache, pairs=np.frombuffer(pairs, "u1"), vectors=embedded(texts))
    with np.load(cache) as kept:
        titles, texts = zip(*json.loads(kept["pairs"].tobytes()), strict=True)
        return Corpus(list(titles), list(texts), kept["vectors"])


def embedded(texts: list[str]) -> Any:
    import numpy as np

    from example_project.library.embedding import embed

    batches = (embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH))
    return np.asarray([vector for batch in batches for vector in batch], dtype="f4")


def sources() -> Iterator[tuple[Path, str]]:
    """Each file, and the name of its module."""
    places = sysconfig.get_paths()
    for folder in (Path(places["stdlib"]), Path(places["purelib"])):
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
