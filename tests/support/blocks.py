"""The Python in the pages of the documentation."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import django

__all__ = ["Block", "blocks"]

RST_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>python|pycon)\n"
    r"(?P<options>(?:(?P=indent)   :.*\n)*)\n"
    r"(?P<source>(?:(?:(?P=indent)   .*)?\n)+)",
    re.MULTILINE,
)
MARKDOWN_BLOCK = re.compile(
    r"^```(?P<language>python|pycon)\n(?P<source>(?:# (?P<caption>\S+\.py)\n)?.*?)^```",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    source: str
    caption: str
    #: The engines that it is for, and "django6.0" from which version on.
    classes: list[str]

    def is_for(self, engine: str) -> bool:
        versions = {name for name in self.classes if name.startswith("django")}
        engines = set(self.classes) - versions
        known = all(_version(name) <= django.VERSION for name in versions)
        return known and (not engines or engine in engines)


def _version(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.removeprefix("django").split(".")))


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    pattern = RST_BLOCK if page.suffix == ".rst" else MARKDOWN_BLOCK
    for match in pattern.finditer(text):
        groups = match.groupdict()
        options = dict(re.findall(r":(\w+): (.+)", groups.get("options") or ""))
        yield Block(
            page=page,
            line=text.count("\n", 0, match.start("source")),
            language=groups["language"],
            source=textwrap.dedent(match["source"]),
            caption=groups.get("caption") or options.get("caption", ""),
            classes=options.get("class", "").split(),
        )
