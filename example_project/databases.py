"""
Which database the example uses: ``DATABASE_URL``, or else ``DATABASE``, a name.

The URLs are ``sqlite:///relative/path``, ``sqlite:////absolute/path``, the same with ``libsql``,
``libsql://host?auth_token=...``, ``postgresql://user:password@host:port/name`` and
``postgresql:///name?host=/socket/folder``; other options of a URL go to the driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

__all__ = ["DATABASES", "DATA_FOLDER", "chosen", "from_environment", "from_url"]

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


# The URL itself may hold a password.
NO_URL = (
    "DATABASE_URL cannot be read: its port is not a number from 0 to 65535, or its user or "
    "password has one of / ? # [ ] @ : that is not percent-encoded."
)


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


def from_url(url: str) -> dict[str, Any]:
    """``url`` as an entry of Django's DATABASES. Raises ImproperlyConfigured."""
    try:
        parts = urlsplit(url)
    except ValueError:  # whose sentence holds a part of the URL
        raise ImproperlyConfigured(NO_URL) from None
    if parts.scheme not in SCHEMES:
        raise ImproperlyConfigured(
            f"DATABASE_URL has no scheme that is known; use one of {', '.join(SCHEMES)}."
        )
    if parts.fragment:  # a password that was cut in two
        raise ImproperlyConfigured(NO_URL)
    scheme = SCHEMES[parts.scheme]
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "libsql" and parts.netloc:
        server = parts._replace(query="").geturl()
        return {**scheme, "NAME": server, "OPTIONS": options}
    return {
        **scheme,
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": options.pop("port", "") or _port(parts),
        "OPTIONS": {**scheme["OPTIONS"], **options},
    }


def _port(parts: Any) -> str:
    try:
        return str(parts.port or "")
    except ValueError:  # whose sentence holds what may be a part of the password
        raise ImproperlyConfigured(NO_URL) from None
