"""Where a database is: the names that the settings give, files and URLs of servers."""

from __future__ import annotations

import os
import re

__all__ = ["SCHEME", "is_remote", "without_secrets"]

# The schemes that the client knows; it takes anything else for a file name.
REMOTE = re.compile(r"(?:libsql|https?)://")
SCHEME = re.compile(r"(\w+)://")


def is_remote(name: str | os.PathLike[str]) -> bool:
    """Whether ``name`` is the URL of a server and not a file."""
    return REMOTE.match(os.fspath(name)) is not None


def without_secrets(name: str | os.PathLike[str]) -> str:
    """A URL for messages: without user, password, query and fragment."""
    scheme, separator, rest = str(os.fspath(name)).partition("://")
    if not separator:
        return scheme
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
