"""
The links of the built documentation: ``python -m tests.support.links docs/_build/html``.

Prints each link within the site whose page, file or anchor is not there, and ends with 1 if there
is one. Addresses of others are not asked for; http:// of others is refused, since all have https://.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

__all__ = ["broken"]

#: What a browser makes itself, or Sphinx for its own use.
LEFT_OUT = {"genindex.html", "search.html", "py-modindex.html"}


class Page(HTMLParser):
    """The anchors and the links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value and tag != "link":
                self.links.append(value)


def broken(site: Path) -> Iterator[str]:
    """A line for each link that leads nowhere."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links if path.name not in LEFT_OUT else ():
            if reason := _why_broken(link, path, pages):
                yield f"{path.relative_to(site.resolve())}: {link}: {reason}"


def _why_broken(link: str, path: Path, pages: dict[Path, Page]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        insecure = parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost")
        return "use https://" if insecure else None
    address, anchor = urldefrag(link)
    target = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
    if not target.exists():
        return "no such file"
    if anchor and target in pages and unquote(anchor) not in pages[target].anchors:
        return "no such anchor"
    return None


if __name__ == "__main__":
    found = list(broken(Path(sys.argv[1])))
    print("\n".join(found) or "All links within the site lead somewhere.")
    sys.exit(bool(found))
