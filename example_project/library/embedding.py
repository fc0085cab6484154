"""Texts as vectors: wordllama's 256 dimensions, whose weights come with the package."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

__all__ = ["embed", "embed_entries", "text_of"]

# Between the words of camelCase, HTTPServer and snake_case, and between the parts of a name.
WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[._]+")

_loading = threading.Lock()


def embed(texts: Sequence[str]) -> list[Any]:
    """A vector (a numpy array of float32) for each text. Loads the model when first called."""
    with _loading:
        model = _model()
    # The model's tokens differ by case, and people search in lower case.
    return [*model.embed([text.lower() for text in texts])]


class Named(Protocol):
    """What has a name and a summary."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...


def text_of(item: Named) -> str:
    """
    What of an entry is embedded: its name in words, and its summary.

    Of ten ways that were tried with fifty queries, this one and its like did best: the whole
    docstring blurs the vector, and the summary alone loses what the name says.
    """
    return f"{WORD_BOUNDARY.sub(' ', item.name).strip()}: {item.summary}"


def embed_entries(entries: Sequence[Named]) -> list[Any]:
    """A vector for each entry: the embedder of ``manage.py embed``."""
    return embed([text_of(entry) for entry in entries])


@functools.cache
def _model() -> Any:
    import wordllama

    # wordllama looks for its tokenizer in cache_dir and on the internet, but not in its own folder.
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
