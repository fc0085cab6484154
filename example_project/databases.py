"""
Which database the example uses: ``DATABASE_URL``, or else ``DATABASE``, a name.

The URLs are ``sqlite:///relative/path``, ``sqlite:////absolute/path``, the same with ``libsql``,
``libsql://host?auth_token=...``, ``postgresql://user:password@host:port/name`` and
``postgresql:///name?host=/socket/folder``; other options of a URL go to the driver.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

__all__ = [
    "DATABASES",
    "DATA_FOLDER",
    "SERVER",
    "chosen",
    "command",
    "from_environment",
    "from_url",
    "shown",
    "unusable",
]

# Set where DATABASE_URL is that of the server which example_project.server has started.
SERVER = "DORM_VECTOR_EXAMPLE_SERVER"

DATA_FOLDER = Path(__file__).resolve().with_name("data")

# URLs by the value of DATABASE. The server of the second one is started by example_project.server.
DATABASES = {
    "sqlite": f"sqlite:///{quote((DATA_FOLDER / 'db.sqlite3').as_posix())}",
    "postgresql": "postgresql:///postgres",
    "libsql": f"libsql:///{quote((DATA_FOLDER / 'db.libsql').as_posix())}",
}

POSTGRESQL = {
    "ENGINE": "django.db.backends.postgresql",
    # An HNSW index is approximate. Looking at 400 candidates made the hits of 567 queries the same
    # as those of an exact search, at 3 ms a query; with pgvector's 40 some differ.
    "OPTIONS": {"options": "-c hnsw.ef_search=400"},
}

# What Django wants to know, by the scheme of a URL.
SCHEMES: dict[str, dict[str, Any]] = {
    "sqlite": {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {}},
    "postgres": POSTGRESQL,
    "postgresql": POSTGRESQL,
    "libsql": {"ENGINE": "dorm_vector.backends.libsql", "OPTIONS": {}},
}


HIDDEN = "***"
SECRET = re.compile(r"auth|key|pass|pwd|secret|token", re.IGNORECASE)
NUMBER = re.compile(r"\d+(\.\d+)?")


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """
    The entry of Django's DATABASES that the environment variables ask for.

    Raises ImproperlyConfigured for an unknown name and for a URL that cannot be used.
    """
    return from_url(environment.get("DATABASE_URL") or DATABASES[chosen(environment)])


def chosen(environment: Mapping[str, str]) -> str:
    """The value of DATABASE. Raises ImproperlyConfigured for an unknown one."""
    name = environment.get("DATABASE") or "sqlite"
    if name not in DATABASES:
        raise ImproperlyConfigured(f"DATABASE is {name!r}; use one of {', '.join(DATABASES)}.")
    return name


def command(target: str, environment: Mapping[str, str] = os.environ) -> str:
    """How to run a target of the Makefile with the database at hand."""
    url = environment.get("DATABASE_URL")
    if url and SERVER not in environment:
        return f"make {target}, with the same DATABASE_URL"
    name = chosen(environment)
    return f"make {target}" if name == "sqlite" else f"make {target} DATABASE={name}"


def from_url(url: str) -> dict[str, Any]:
    """``url`` as an entry of Django's DATABASES. Raises ImproperlyConfigured."""
    parts = _parts(url)
    scheme = SCHEMES[parts.scheme]
    options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "libsql" and parts.netloc:
        server = parts._replace(query="").geturl()
        return {**scheme, "NAME": server, "OPTIONS": _numbers(options)}
    if parts.scheme in ("sqlite", "libsql"):
        if parts.netloc or not parts.path[1:]:
            raise _unusable(url, f"names no file; write {parts.scheme}:///relative/path")
        options = _numbers(options)
    return {
        **scheme,
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": options.pop("port", "") or str(parts.port or ""),
        "OPTIONS": {**scheme["OPTIONS"], **options},
    }


def unusable(error: Exception, environment: Mapping[str, str] = os.environ) -> str:
    """One sentence about what a database has answered, and which database that is."""
    url = environment.get("DATABASE_URL") or DATABASES[chosen(environment)]
    said = " ".join(str(error).split()).rstrip(".?")
    return f"The database {shown(url)!r} cannot be used: {said}."


def shown(url: str) -> str:
    """
    A URL as it may be printed: without a password, a token, or what may be a part of them.

    A password that is not percent-encoded can hold anything, so that it goes on to the last "@".
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    user, at, rest = rest.rpartition("@")
    if at:
        user = f"{user.partition(':')[0]}:{HIDDEN}" if ":" in user else user
    rest, question, query = rest.partition("?")
    server, slash, path = rest.partition("/")
    host, colon, port = server.rpartition(":")
    if colon and not (port.isdigit() or port.endswith("]")):
        server = f"{host}:{HIDDEN}"
    elif not mark and not at and not slash and "." not in server:
        # A word by itself: who knows what was pasted here.
        server = HIDDEN
    options = "&".join(map(_option, query.split("&"))) if query else ""
    return f"{scheme}{mark}{user}{at}{server}{slash}{path}{question}{options}"


def _option(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return HIDDEN
    return f"{name}={HIDDEN if SECRET.search(name) else value}"


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - which raises where it is no number
    except ValueError:  # whose sentence holds a part of the URL
        raise _unreadable(url) from None
    if parts.scheme not in SCHEMES or "://" not in url:
        raise _unusable(url, f"has no scheme that is known; use one of {', '.join(SCHEMES)}")
    if parts.fragment:  # a password that was cut in two
        raise _unreadable(url)
    return parts


def _unreadable(url: str) -> ImproperlyConfigured:
    return _unusable(
        url,
        "cannot be read: its port is not a number from 0 to 65535, or its user or password has one "
        "of / ? # [ ] @ : that is not percent-encoded",
    )


def _unusable(url: str, reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"DATABASE_URL, {shown(url)!r}, {reason}.")


def _numbers(options: dict[str, Any]) -> dict[str, Any]:
    """Options of drivers that take numbers, such as timeout=20."""
    return {
        name: float(value) if NUMBER.fullmatch(value) else value for name, value in options.items()
    }
