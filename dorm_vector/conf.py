"""The settings dict ``DORM_VECTOR``, read whenever a value is needed and never before."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

__all__ = ["DEFAULTS", "get"]

DEFAULTS: dict[str, Any] = {
    # {alias: "engine name" or "dotted.path.ToAnEngineClass"}; empty means: detect.
    "ENGINES": {},
    # How sqlite-vec is loaded: "auto", "extension", "native", "python", or None for not at all.
    "SQLITE_VEC": "auto",
    # The pgvector setting that new connections get, or None to keep the server's own.
    "ITERATIVE_SCAN": "strict_order",
}

CHOICES: dict[str, tuple[str | None, ...]] = {
    "SQLITE_VEC": ("auto", "extension", "native", "python", None),
    "ITERATIVE_SCAN": ("off", "relaxed_order", "strict_order", None),
}


def get(name: str) -> Any:
    """
    The value of ``DORM_VECTOR[name]``, or its default.

    Raises ImproperlyConfigured for a value that the setting does not know.
    """
    value = _given().get(name, DEFAULTS[name])
    if name in CHOICES and value not in CHOICES[name]:
        known = ", ".join(map(repr, CHOICES[name]))
        raise ImproperlyConfigured(f"DORM_VECTOR[{name!r}] is {value!r}; use one of {known}.")
    if name == "ENGINES" and not _names_engines(value):
        raise ImproperlyConfigured(
            f"DORM_VECTOR['ENGINES'] is {value!r}; use a dict of engines by database "
            "alias, such as {'default': 'project.vectors.Engine'}."
        )
    return value


def _names_engines(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(path, str) for path in value.values())


def _given() -> dict[str, Any]:
    """The setting as it is. Raises ImproperlyConfigured for one that is not a dict."""
    given = getattr(settings, "DORM_VECTOR", {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"DORM_VECTOR is a dict of settings, not {given!r}.")
    return given


def unknown() -> list[str]:
    """The unknown keys of ``DORM_VECTOR``, misspellings mostly."""
    given = getattr(settings, "DORM_VECTOR", {})
    return sorted(map(str, set(given) - set(DEFAULTS))) if isinstance(given, dict) else []


def errors() -> list[str]:
    """One sentence for each value that its setting does not take."""
    found: dict[str, None] = {}  # one that is not a dict is reported once
    for name in DEFAULTS:
        try:
            get(name)
        except ImproperlyConfigured as error:
            found[str(error)] = None
    return list(found)
