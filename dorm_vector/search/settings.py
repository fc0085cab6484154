"""Search parameters: what a search may spend, for the duration of a block or of one query."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from dorm_vector.engines import engine_for

__all__ = ["search_params", "validated"]

# Least and greatest value, or the words. Source: https://github.com/pgvector/pgvector#query-options
RANGES: dict[str, tuple[type, float, float]] = {
    "ef_search": (int, 1, 1000),
    "probes": (int, 1, 32768),
    "max_scan_tuples": (int, 1, 2147483647),
    "scan_mem_multiplier": (float, 1, 1000),
}
# Queries; a setting around the statements of a transaction itself would come between them.
READS = re.compile(r"[\s(]*(?:SELECT|WITH|EXPLAIN)\b", re.I)
WORDS = {"iterative_scan": ("off", "relaxed_order", "strict_order")}


def validated(**params: Any) -> dict[str, Any]:
    """The parameters that are not None. Raises ValueError for a value out of range."""
    given = {name: value for name, value in params.items() if value is not None}
    for name, value in given.items():
        if name in WORDS:
            _check_word(name, value)
        else:
            _check_range(name, value)
    return given


def _check_word(name: str, value: Any) -> None:
    if value not in WORDS[name]:
        words = ", ".join(map(repr, WORDS[name]))
        raise ValueError(f"{name} takes one of {words}, not {value!r}.")


def _check_range(name: str, value: Any) -> None:
    kind, least, greatest = RANGES[name]
    number = isinstance(value, kind | int) and not isinstance(value, bool)
    if not number or not least <= value <= greatest:
        raise ValueError(f"{name} takes {least} to {greatest}, not {value!r}.")


class search_params(contextlib.ContextDecorator):  # noqa: N801 - a function to its callers
    """
    Run a block, or a decorated function, with other search parameters.

    ``using`` is the alias of a database. Without it the parameters hold for the default database,
    and for each query that a router sends to another one. On PostgreSQL the block is a transaction,
    or a savepoint where one is open, and what was set before is restored at its end. ``ef_search``
    (1 to 1000), ``iterative_scan`` ("off", "relaxed_order", "strict_order"), ``max_scan_tuples``
    and ``scan_mem_multiplier`` (1 to 1000) are for HNSW indexes, ``probes`` (1 to 32768) and
    ``iterative_scan`` for IVFFlat ones. Databases that have nothing to tune do nothing.

    A queryset is lazy: evaluate it inside the block. Raises ValueError for a value out of range.
    """

    def __init__(
        self,
        using: str | None = None,
        *,
        ef_search: int | None = None,
        probes: int | None = None,
        iterative_scan: str | None = None,
        max_scan_tuples: int | None = None,
        scan_mem_multiplier: float | None = None,
    ) -> None:
        self.using = using
        self.params = validated(
            ef_search=ef_search,
            probes=probes,
            iterative_scan=iterative_scan,
            max_scan_tuples=max_scan_tuples,
            scan_mem_multiplier=scan_mem_multiplier,
        )
        self._entered: list[contextlib.ExitStack] = []

    def __enter__(self) -> search_params:
        with contextlib.ExitStack() as stack:
            settings = _settings(self.using or DEFAULT_DB_ALIAS, self.params)
            engine = engine_for(connections[self.using or DEFAULT_DB_ALIAS])
            stack.enter_context(engine.local_settings(settings))
            if self.using is None:
                for alias in _others():
                    if settings := _settings(alias, self.params):
                        wrapper = EachQuery(settings)
                        stack.enter_context(connections[alias].execute_wrapper(wrapper))
            self._entered.append(stack.pop_all())
        return self

    def __exit__(self, *exc_info: Any) -> bool | None:
        return self._entered.pop().__exit__(*exc_info)

    def _recreate_cm(self) -> search_params:
        # A decorated function may run in several threads at a time.
        return type(self)(self.using, **self.params)


class EachQuery:
    """Lets settings hold for each query on a connection that may see none in a block."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.setting = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.setting or not READS.match(sql):
            return execute(sql, params, many, context)
        self.setting = True
        try:
            with engine_for(context["connection"]).local_settings(self.settings):
                return execute(sql, params, many, context)
        finally:
            self.setting = False


def _settings(alias: str, params: dict[str, Any]) -> dict[str, Any]:
    return engine_for(connections[alias]).search_settings(params)


def _others() -> list[str]:
    """The databases that a router may send a query to."""
    return [alias for alias in connections if alias != DEFAULT_DB_ALIAS]
