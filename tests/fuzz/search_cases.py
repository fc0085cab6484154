"""Evaluates a case in a database, and says in which way an answer is wrong."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import itertools
import pickle
import random
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from asgiref.sync import async_to_sync
from django.core.paginator import Paginator
from django.db import DatabaseError, connections, models, transaction
from django.db.models.functions import Rank, RowNumber

import dorm_vector
from tests.fuzz import search_compare, search_oracle
from tests.fuzz.search_compare import difference, normal, pool_difference, rough_difference, same
from tests.fuzz.search_data import Data
from tests.fuzz.search_models import Owner, Tag, TaggedQuery
from tests.fuzz.search_oracle import ORACLE
from tests.fuzz.search_steps import Case
from tests.support import planner

__all__ = ["ENGINES", "Failed", "check", "evaluate", "settings_of"]

# The engines by the alias of their database.
ENGINES = {"sqlite": "default", "postgresql": "postgresql", "libsql": "libsql"}
DISTANCES = {
    "L2Distance": "l2",
    "CosineDistance": "cosine",
    "MaxInnerProduct": "ip",
    "L1Distance": "l1",
    "HammingDistance": "hamming",
    "JaccardDistance": "jaccard",
}
MODEL_NAMES = [
    *("Avg", "Count", "Exists", "F", "Max", "Min", "OuterRef"),
    *("Prefetch", "Q", "Subquery", "Sum", "Value", "Window"),
]
FORCED = "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off"
# What makes an index search come back short; "forced" is libSQL's graph of a few vectors.
SETTINGS = {
    "postgresql": [
        "",
        "SET enable_seqscan = off",
        FORCED,
        f"{FORCED}; SET hnsw.ef_search = 3",
        f"{FORCED}; SET hnsw.max_scan_tuples = 1",
        f"{FORCED}; SET hnsw.iterative_scan = off; SET hnsw.ef_search = 2",
        f"{FORCED}; SET hnsw.iterative_scan = relaxed_order; SET hnsw.ef_search = 2",
        f"{FORCED}; SET work_mem = '64kB'; SET hnsw.ef_search = 1",
    ],
    "sqlite": ["", "", "PRAGMA reverse_unordered_selects = ON"],
    "libsql": ["", "forced", "forced"],
}
RESET = {
    "postgresql": (
        "RESET ALL; SET statement_timeout = '30s'; SET hnsw.iterative_scan = strict_order"
    ),
    "sqlite": "PRAGMA reverse_unordered_selects = OFF",
}
# What these databases cannot do: the parts of a source, and of the message.
CANNOT = [
    ("select_for_update", "FOR UPDATE"),
    ("select_for_update", "of argument"),
]


@dataclasses.dataclass
class Failed:
    """What an expression raised."""

    error: Exception

    def __repr__(self) -> str:
        first = (str(self.error).splitlines() or [""])[0]
        return f"{type(self.error).__name__}: {first}"


def settings_of(engine: str, rng: random.Random) -> str:
    return rng.choice(SETTINGS[engine])


@contextlib.contextmanager
def applied(engine: str, settings: str) -> Iterator[None]:
    if settings == "forced":
        with planner.forced("libsql"):
            yield
        return
    if settings:
        _run(engine, settings)
    try:
        yield
    finally:
        if settings:
            _run(engine, RESET[engine])


def _run(engine: str, statements: str) -> None:
    with connections[ENGINES[engine]].cursor() as cursor:
        for statement in statements.split("; "):
            cursor.execute(statement)


def evaluate(case: Case, data: Data, alias: str, source: str | None = None, **names: Any) -> Any:
    """The value of a case's source in a database, or how it failed."""
    code = source or case.source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            space = {**namespace(data, alias), **names}
            if alias == ORACLE and case.regroups:
                space["nearest"] = functools.partial(space["nearest"], keyed=False)
            if not case.writes:
                return normal(eval(code, space))
            with transaction.atomic(using=alias):
                value = normal(eval(code, space))
                transaction.set_rollback(True, using=alias)
            return value
        except Exception as error:
            return Failed(error)


def namespace(data: Data, alias: str) -> dict[str, Any]:
    """The names that sources use."""
    model: Any = data.setup.model
    names: dict[str, Any] = {name: getattr(models, name) for name in MODEL_NAMES}
    if alias == ORACLE:
        names.update({name: search_oracle.measures(metric) for name, metric in DISTANCES.items()})
        names["VectorAvg"] = lambda field: search_oracle.OracleMean(
            field, output_field=model._meta.get_field(field)
        )
        names["nearest"] = search_oracle.reference
        names.update(matching=search_oracle.matched, fuse=search_oracle.fused)
    else:
        names.update({name: getattr(dorm_vector, name) for name in DISTANCES})
        names.update(nearest=dorm_vector.nearest, VectorAvg=dorm_vector.VectorAvg)
        names["matching"] = functools.partial(
            dorm_vector.matching, match="any", annotation=search_compare.UNCOMPARED[0]
        )
        names["fuse"] = functools.partial(dorm_vector.fuse, annotation=search_compare.UNCOMPARED[1])
    return {
        **names,
        **HELPERS,
        "Rank": Rank,
        "RowNumber": RowNumber,
        "M": model,
        "Owner": Owner,
        "Tag": Tag,
        "Chunk": data.setup.children,
        "db": alias,
        "np": np,
        "q": data.queries,
        "rows": model._default_manager.using(alias),
        "row": lambda place: _row(data, alias, place),
    }


def _row(data: Data, alias: str, place: int) -> Any:
    model: Any = data.setup.model
    if data.setup.name == "B":
        model = data.setup.tables[2]
    return model._base_manager.using(alias).order_by("name")[place]


def written(change: Any, rows: Any) -> Any:
    """What a change returned, and what it left."""
    result = change()
    left = rows.model._base_manager.using(rows.db).order_by("pk")
    # What deletes name the tables of is counted by their order on MySQL alone.
    counted = result[1] if isinstance(result, tuple) else result
    return counted, list(left.values_list("pk", "cat")), left.filter(other=None).count()


def paged(rows: Any, size: int, end: int) -> Any:
    pages = Paginator(rows, size)
    found: list[Any] = []
    for number in pages.page_range:
        found += pages.page(number).object_list
        if len(found) >= end:
            break
    return found


def asynchronous(rows: Any) -> Any:
    async def read() -> list[Any]:
        return [row async for row in rows]

    return async_to_sync(read)()


def acount(rows: Any) -> Any:
    return async_to_sync(rows.acount)()


def unpickled_query(rows: Any) -> Any:
    other = rows.model._base_manager.using(rows.db).all()
    other.query = pickle.loads(pickle.dumps(rows.query))
    return [getattr(row, "pk", row) for row in other]


def is_own_query(rows: Any) -> Any:
    own = rows.model._default_manager.get_queryset().query
    is_same = isinstance(rows.query, type(own))
    return is_same and ("tagged" in str(rows.query)) is isinstance(own, TaggedQuery)


def again(rows: Any) -> Any:
    list(rows)
    return list(rows.all())


def one_sequence(rows: Any, cuts: list[int]) -> Any:
    """Whether slices are parts of one sequence, in which no row comes twice; and its length."""
    whole = [row.pk for row in rows[: cuts[-1]]]
    parts = [[row.pk for row in rows[a:b]] for a, b in itertools.pairwise([0, *cuts])]
    joined = list(itertools.chain(*parts))
    fits = joined == whole
    if not fits and sorted(joined) == sorted(whole):
        # Rows that an index had missed come last, each slice in its order. Of those of two blocks
        # that are equally near any may come first.
        name = rows.query.search.annotation
        far = {row.pk: getattr(row, name) for row in rows.reverse()}  # which no index serves
        fits = all(sorted(part, key=far.__getitem__) == part for part in (whole, *parts))
    return fits, len(set(whole)) == len(whole), len(whole)


HELPERS = {
    "one_sequence": one_sequence,
    "written": written,
    "paged": paged,
    "pickled": lambda rows: pickle.loads(pickle.dumps(rows)),
    "deepcopy": copy.deepcopy,
    "asynchronous": asynchronous,
    "acount": acount,
    "unpickled_query": unpickled_query,
    "is_own_query": is_own_query,
    "again": again,
}


def check(
    case: Case, data: Data, engine: str, settings: str, expected: Any
) -> tuple[str, Any] | None:
    """What is wrong with an engine's answer, and the answer; None where it is right."""
    alias = ENGINES[engine]
    with applied(engine, settings):
        got = evaluate(case, data, alias)
        if isinstance(got, Failed) or isinstance(expected, Failed):
            reason = _failure(case, got, expected)
        else:
            reason = difference(got, expected, case.compare)
            if reason and is_undecided(case.source, reason, case.regroups):
                reason = None
            if reason and not data.is_clear:
                reason = rough_difference(got, expected, reason)
        approximate = reason and not isinstance(got, Failed) and is_approximate(case, data, engine)
        if approximate and not isinstance(expected, Failed):
            reason = _approximate(case, data, alias, engine, got, expected)
    return (reason, got) if reason else None


# What a search finds, merged after it; and what ends a part of them.
MERGED = re.compile(r"distinct\(\)|\.values\('cat'\)|\.values_list\('cat'\)|\.values\('owner'\)")
ENDS = re.compile(r"k=|\[:\d|\[\d|count\(")


def is_undecided(source: str, reason: str, regroups: bool = False) -> bool:
    """
    Whether neither Django nor the documentation says which rows an answer has, or in which order.

    A slice of merged rows, of which several are equally near, ends at any of them. And whether
    count() of distinct values sees the order differs from one Django to the next. Where a join
    gives one row twice, with two numbers by its name, either comes first, and in_bulk() keeps one.
    """
    is_numbered = "RowNumber" in source and "tags__in" in source
    if is_numbered and (reason == "order" or "in_bulk" in source):
        return True
    merged = MERGED.search(source) and ENDS.search(source)
    # Of another query there are as many rows as there are different ones in such a slice.
    depends = regroups and "pk__in" in source
    return bool(merged) and (depends or reason not in ("short", "long"))


def _failure(case: Case, got: Any, expected: Any) -> str | None:
    if isinstance(expected, Failed):
        if isinstance(expected.error, DatabaseError):
            # Stock SQLite cannot do it. The engine may, but not fail in a way of its own.
            clean = not isinstance(got, Failed) or isinstance(got.error, DatabaseError)
            return None if clean else f"raises {got!r}"
        if not isinstance(got, Failed):
            return f"does not raise {expected!r}"
        if isinstance(got.error, type(expected.error)):
            return None
        return f"raises {got!r}, not {type(expected.error).__name__}"
    text = str(got.error)
    if any(part in case.source and message in text for part, message in CANNOT):
        return None
    return f"raises {_blurred(repr(got))}"


def _blurred(text: str) -> str:
    """Without what differs from case to case, so that those alike are counted together."""
    return "".join("#" if letter.isdigit() else letter for letter in text)[:160]


def is_approximate(case: Case, data: Data, engine: str) -> bool:
    """Whether an index of the engine's may miss rows."""
    for index in [
        index for field in ("embedding", "second") for index in data.setup.indexes(field)
    ]:
        if engine == "postgresql":
            return True
        if engine == "sqlite" and type(index).__name__ == "VectorIndex":
            return index.precision == "bit" or bool(index.prefix)
        if engine == "libsql" and type(index).__name__ == "VectorIndex":
            return True
    if data.setup.children:
        return engine != "sqlite" and bool(data.setup.children._meta.indexes)
    return False


MUST_BE_EQUAL = (
    "one_sequence(",
    ".count()",
    ".exists()",
    "len(",
    "acount(",
    "bool(",
    "Count('pk')",
)


def _approximate(
    case: Case, data: Data, alias: str, engine: str, got: Any, expected: Any
) -> str | None:
    """What is wrong with an answer that may miss rows, but not come back short or out of order."""
    if case.whole and case.compare == "rows":
        whole = evaluate(case, data, ORACLE, case.whole)
        if "values_list" in case.source:
            whole = (
                tuple(
                    (row[0], row[-1])
                    for row in evaluate(
                        case, data, ORACLE, f"{case.whole}.values_list('pk', 'distance')"
                    )
                )
                if "distance" in case.source
                else whole
            )
        if reason := pool_difference(got, whole, len(expected)):
            return f"approximate: {reason}"
        found = sum(any(same(row, item) for item in expected) for row in got)
        RECALLS.setdefault(f"{engine} {data.setup.name}", []).append((found, len(expected)))
        return None
    exact = evaluate(case, data, alias, nearest=_exactly)
    wrong = repr(exact)
    if not isinstance(exact, Failed):
        wrong = difference(exact, expected, case.compare) or ""
        if wrong and not data.is_clear:
            wrong = rough_difference(exact, expected, wrong) or ""
    if wrong:
        return f"exact=True: {wrong}"
    if any(part in case.source for part in MUST_BE_EQUAL):
        return "approximate: count"
    if case.compare != "exact" and len(got) != len(expected):
        return "approximate: short" if len(got) < len(expected) else "approximate: long"
    RECALLS.setdefault(f"{engine} {data.setup.name} (others)", []).append((0, 1))
    return None


RECALLS: dict[str, list[tuple[int, int]]] = {}


def _exactly(*args: Any, **options: Any) -> Any:
    return dorm_vector.nearest(*args, **{**options, "exact": True})
