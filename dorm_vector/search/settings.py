"""Search parameters: what a search may spend, for the duration of a block or of one query."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any, TypedDict, Unpack

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

from dorm_vector.engines import engine_for
from dorm_vector.registry import METHODS

__all__ = ["SearchParams", "search_params", "validated"]

# Queries only: settings around a transaction's own statements would come between them.
READS = re.compile(r"[\s(]*(?:SELECT|WITH|EXPLAIN)\b", re.I)


class SearchParams(TypedDict, total=False):
    """
    What searches of an index may be tuned by, under the names that index methods give it.

    Those of a project's own index method are taken too; see ``MethodIndex.search_options``.
    """

    #: How many candidates an HNSW index keeps, and so finds at a time: 1 to 1000.
    ef_search: int | None
    #: How many lists an IVFFlat index looks at: 1 to 32768.
    probes: int | None
    #: "off", "relaxed_order" or "strict_order": how to go on if a filter leaves too few rows.
    iterative_scan: str | None
    #: When an iterative scan of HNSW ends: after so many rows, or so many times ``work_mem``.
    max_scan_tuples: int | None
    scan_mem_multiplier: float | None
    #: How many candidates a DiskANN index looks at, and how many of them it orders by the true
    #: distance: 1 to 10000, and 0 to 1000.
    query_search_list_size: int | None
    query_rescore: int | None


def validated(caller: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """
    The parameters that are not None.

    Raises ValueError for a value out of range, and TypeError for a name that no index method has.
    """
    for name, value in params.items():
        options = [m.search_options[name] for m in METHODS.values() if name in m.search_options]
        if not options:
            raise TypeError(
                f"{caller} has no keyword {name!r}; indexes are searched with {', '.join(names())}."
            )
        if value is not None and not any(option.takes(value) for option in options):
            raise ValueError(f"{name} takes {options[0].taken}, not {value!r}.")
    return {name: value for name, value in params.items() if value is not None}


def names() -> list[str]:
    """The search parameters of all index methods."""
    return list(dict.fromkeys(name for m in METHODS.values() for name in m.search_options))


class search_params(contextlib.ContextDecorator):  # noqa: N801 - a function to its callers
    """
    Run a block, or a decorated function, with other search parameters.

    ``using`` is the alias of a database. Without it the parameters hold for the default database,
    and for each query that a router sends to another one. On PostgreSQL the block is a transaction,
    or a savepoint where one is open, and what was set before is restored at its end. ``ef_search``
    (1 to 1000), ``iterative_scan`` ("off", "relaxed_order", "strict_order"), ``max_scan_tuples``
    and ``scan_mem_multiplier`` (1 to 1000) are for HNSW indexes, ``probes`` (1 to 32768) and
    ``iterative_scan`` for IVFFlat ones, ``query_search_list_size`` (1 to 10000) and
    ``query_rescore`` (0 to 1000) for those of pgvectorscale. Databases that have nothing to tune do
    nothing.

    A queryset is lazy: evaluate it inside the block. Raises ValueError for a value out of range.

    ``async with`` is for coroutines, and so is decorating one. Tasks that run at the same time
    share a connection, and a transaction each would not end in order: there each query is given
    the parameters, at the price of some more statements.
    """

    def __init__(
        self,
        using: str | None = None,
        **params: Unpack[SearchParams],
    ) -> None:
        self.using = using
        self.params = validated("search_params()", params)
        self._entered: list[contextlib.ExitStack] = []
        self._tokens: list[Token[Any]] = []

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

    async def __aenter__(self) -> search_params:
        await sync_to_async(_let_context_tell)()
        aliases = [self.using] if self.using else list(connections)
        inner = {alias: {**IN_CONTEXT.get().get(alias, {}), **self.params} for alias in aliases}
        self._tokens.append(IN_CONTEXT.set({**IN_CONTEXT.get(), **inner}))
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        IN_CONTEXT.reset(self._tokens.pop())

    def __call__(self, func: Any) -> Any:
        if not inspect.iscoroutinefunction(func):
            return super().__call__(func)

        @functools.wraps(func)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            async with self._recreate_cm():
                return await func(*args, **kwargs)

        return inner

    def _recreate_cm(self) -> search_params:
        # A decorated function may run in several threads at a time.
        return type(self)(self.using, **self.params)


class EachQuery:
    """Applies settings to each query on a connection that a block may not use."""

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


#: By alias, the parameters of the ``async with`` blocks around a task.
IN_CONTEXT: ContextVar[dict[str, dict[str, Any]]] = ContextVar("search_params", default={})  # noqa: B039 - never changed


class OfContext(EachQuery):
    """Applies the parameters of a task to each of its queries."""

    def __init__(self, alias: str) -> None:
        super().__init__({})
        self.alias = alias

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not (given := IN_CONTEXT.get().get(self.alias)):
            return execute(sql, params, many, context)
        self.settings = _settings(self.alias, given)
        return super().__call__(execute, sql, params, many, context)


def _let_context_tell() -> None:
    """Have the connections of this thread ask the task that runs a query."""
    for alias in connections:
        wrappers = connections[alias].execute_wrappers
        if not any(isinstance(each, OfContext) for each in wrappers):
            # The outermost wrapper: those of blocks come and go at the other end.
            wrappers.insert(0, OfContext(alias))


def _settings(alias: str, params: dict[str, Any]) -> dict[str, Any]:
    return engine_for(connections[alias]).search_settings(params)


def _others() -> list[str]:
    """The databases that a router may send a query to."""
    return [alias for alias in connections if alias != DEFAULT_DB_ALIAS]
