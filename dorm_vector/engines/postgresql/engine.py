"""PostgreSQL with the pgvector extension."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db import NotSupportedError, models, transaction
from django.db.backends.ddl_references import Columns, Statement
from django.db.models import Q
from django.db.models.sql.query import Query

from dorm_vector import codecs, conf
from dorm_vector.engines.base import Engine
from dorm_vector.engines.base.loaders import Loader
from dorm_vector.engines.postgresql import extension
from dorm_vector.engines.postgresql.arrays import read_arrays
from dorm_vector.engines.postgresql.rebuilding import without_indexes
from dorm_vector.engines.postgresql.session import set_for_session
from dorm_vector.kinds import KINDS
from dorm_vector.sql import SQL, Operand, fill, literal, word

logger = logging.getLogger("dorm_vector")

# A name in the ``hnsw`` space is accepted where pgvector is missing. It is not where pgvector is
# loaded already and older than 0.8.
REFUSED = (
    "hnsw.iterative_scan cannot be set on the database %r, so that filtered searches may return "
    "too few rows: %s"
)

# The settings that search parameters stand for.
SETTINGS = {
    "ef_search": "hnsw.ef_search",
    "probes": "ivfflat.probes",
    "iterative_scan": "hnsw.iterative_scan",
    "max_scan_tuples": "hnsw.max_scan_tuples",
    "scan_mem_multiplier": "hnsw.scan_mem_multiplier",
}


FLOATS = ("vector", "halfvec", "sparsevec")
DENSE = ("vector", "halfvec")

# Source: https://github.com/pgvector/pgvector#reference
FUNCTIONS = {
    "norm": {"vector": "vector_norm({a})", **dict.fromkeys(FLOATS[1:], "l2_norm({a})")},
    "dims": {**dict.fromkeys(DENSE, "vector_dims({a})"), "bit": "length({a})"},
    "normalize": dict.fromkeys(FLOATS, "l2_normalize({a})"),
    "subvector": dict.fromkeys(DENSE, "subvector({a}, {start}, {length})"),
    "quantize": dict.fromkeys(DENSE, "binary_quantize({a})"),
    "add": dict.fromkeys(DENSE, "({a} + {b})"),
    "subtract": dict.fromkeys(DENSE, "({a} - {b})"),
    "multiply": dict.fromkeys(DENSE, "({a} * {b})"),
    "concat": {**dict.fromkeys(DENSE, "({a} || {b})"), "bit": "({a} || {b})"},
    "json": dict.fromkeys(DENSE, "({a}::text::jsonb)"),
    "sum": dict.fromkeys(DENSE, "sum({a}){filter}"),
    "avg": dict.fromkeys(DENSE, "avg({a}){filter}"),
}

HALF = "{}::halfvec({})"

DEFAULT_EF_SEARCH = 40
MAX_EF_SEARCH = 1000


def searched_indexes(plan: Any) -> Iterator[str]:
    """The names of the indexes that a plan (EXPLAIN's JSON) searches by distance."""
    if isinstance(plan, list):
        for part in plan:
            yield from searched_indexes(part)
    elif isinstance(plan, dict):
        if plan.get("Node Type") == "Index Scan" and "Order By" in plan:
            yield plan["Index Name"]
        yield from searched_indexes(list(plan.values()))


def _at_stage(stage: str | int, sql: str, kind: str, dimensions: int | None) -> str:
    """What an index is over of a vector: rounded to float16, its signs, or its first components."""
    if stage == "half":
        return HALF.format(sql, dimensions)
    if stage == "bit":
        return f"binary_quantize({sql})::bit({dimensions})"
    count = literal(stage)
    return f"subvector({sql}, 1, {count})::{word(kind)}({count})"


class CastColumns(Columns):
    """The one column of an index, inside an expression."""

    def __init__(self, table: str, columns: list[str], quote_name: Any, template: str) -> None:
        super().__init__(table, columns, quote_name)
        self.template = template

    def __str__(self) -> str:
        return self.template % super().__str__()


class PostgreSQLEngine(Engine):
    """pgvector's types, operators and indexes."""

    name = "postgresql"

    column_types = {
        "vector": "vector({dimensions})",
        "halfvec": "halfvec({dimensions})",
        "bit": "bit({dimensions})",
        "sparsevec": "sparsevec({dimensions})",
    }
    # A cast to bit alone would be one to bit(1).
    placeholders = {
        "vector": "%s::vector",
        "halfvec": "%s::halfvec",
        "bit": "%s::bit({dimensions})",
        "sparsevec": "%s::sparsevec",
    }
    # Django's connections fetch text; as bytea, vectors cost a tenth of that.
    select_templates = {"vector": "vector_send({a})", "halfvec": "halfvec_send({a})"}
    distances = {
        "l2": "({a} <-> {b})",
        "cosine": "({a} <=> {b})",
        "ip": "({a} <#> {b})",
        "l1": "({a} <+> {b})",
        "hamming": "({a} <~> {b})",
        "jaccard": "({a} <%%> {b})",
    }
    functions = FUNCTIONS
    layouts = {
        "vector": codecs.Layout("f", ">", header=4),
        "halfvec": codecs.Layout("e", ">", header=4),
    }
    defined_templates = ("{distance} IS NOT NULL", "{distance} < 'Infinity'")
    # pgvector estimates its <> like an equality, as one row, and the planner would take no index.
    nonzero_templates = dict.fromkeys(FLOATS, "({a} = {zero}) IS FALSE")
    methods = {"vector": "hnsw", "hnsw": "hnsw", "ivfflat": "ivfflat"}
    index_methods = frozenset(methods)
    index_serves_order = True
    index_dimensions = {"vector": 2000, "halfvec": 4000, "bit": 64_000}
    btree_dimensions = 672

    def cast_type(self, kind: str, dimensions: int) -> str:
        return self.column_type(kind, dimensions)

    def encode(self, packed: Any, kind: str = "vector") -> str:
        return codecs.packed_to_text(packed) if kind in DENSE else KINDS[kind].to_text(packed)

    def decode(self, value: Any, kind: str = "vector", dimensions: int | None = None) -> Any:
        # Raw SQL, RETURNING and array aggregates deliver text, and a type adapter that the
        # project has registered delivers objects of its own.
        return super().decode(bytes(value) if isinstance(value, memoryview) else value, kind)

    def _decode_bytes(self, value: bytes, kind: str, dimensions: int | None) -> Any:
        read = {"vector": codecs.from_network, "halfvec": codecs.from_network_float16}[kind]
        return read(value)

    def create_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        prepared = copy.copy(index)
        prepared.opclasses = opclasses = list(map(word, index.opclasses_for(model)))
        statement: Statement = models.Index.create_sql(
            prepared, model, schema_editor, using=f" USING {self.methods[index.method]}", **kwargs
        )
        if index.stage:
            field = index.vector_field(model)
            cast = _at_stage(index.stage, "%s", field.kind, field.dimensions)
            column = model._meta.get_field(index.fields[0]).column
            columns = (model._meta.db_table, [column], schema_editor.quote_name)
            statement.parts["columns"] = CastColumns(*columns, f"({cast}) {opclasses[0]}")
        if options := index.storage_parameters():
            listed = ", ".join(
                f"{word(name)} = {literal(value)}" for name, value in options.items()
            )
            parts: dict[str, Any] = statement.parts
            parts["extra"] = f" WITH ({listed}){parts['extra']}"
        return statement

    def remove_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Any:
        return models.Index.remove_sql(index, model, schema_editor, **kwargs)

    # Searching

    def search_settings(self, params: dict[str, Any]) -> dict[str, Any]:
        settings = {SETTINGS[name]: value for name, value in params.items()}
        # IVFFlat knows no strict order.
        if params.get("iterative_scan") in ("off", "relaxed_order"):
            settings["ivfflat.iterative_scan"] = params["iterative_scan"]
        return settings

    def at_precision(
        self, precision: str | int, metric: str, a: Operand, b: Operand
    ) -> tuple[str, Operand, Operand]:
        # Without its dimensions the cast would not be the one of the index.
        a, b = (
            operand._replace(
                sql=_at_stage(precision, operand.sql, operand.kind, operand.dimensions)
            )
            for operand in (a, b)
        )
        return ("hamming" if precision == "bit" else metric), a, b

    def without_index(self, distance: SQL) -> SQL:
        return fill("({distance} + 0.0)", distance=distance)

    def plan_search(self, query: Any, nested: bool) -> Any:
        """
        Search without an index where one could come back short and nobody would notice.

        That is in a search without an end, and in a filtered one inside another query.
        """
        endless = query.high_mark is None
        if query.search.exact or endless or (nested and query.is_filtered):
            return self._exactly(query)
        if not nested:
            # An index search would go on for rows that are too far away, until it gives up.
            query = query.without_max_distance()
        stage = self._stage(query)
        return self._two_stages(query, stage) if stage else query

    def _stage(self, query: Any) -> Any:
        """What is indexed of a vector, where no index that serves the search is over all of it."""
        stages = [index.stage for index in query.search.indexes]
        return stages[0] if stages and all(stages) else None

    def _two_stages(self, query: Any, stage: str | int) -> Any:
        """Have an index of less precision find candidates, and order them by the true distance."""
        plan, inner = query.clone(), query.clone()
        inner.__class__, inner.explain_info = Query, None
        rough = inner.annotations["distance"].at_precision(stage)
        inner.add_annotation(rough, "_rough", select=False)
        inner.clear_ordering(force=True)
        inner.add_ordering("_rough")
        inner.set_values(["pk"])
        inner.clear_limits()
        inner.set_limits(0, self._candidates(query))
        plan.add_q(Q(pk__in=inner))
        plan.whole = query
        return plan

    def _candidates(self, query: Any) -> int:
        """How many rows the index has to find: more than asked for, where they are re-ranked."""
        return int(query.oversampled(self._stage(query)))

    def run_search(self, compiler: Any, execute: Callable[[], Any]) -> Any:
        """
        Run a search with the settings that it needs, and complete it where it came back short.

        An iterative scan gives up at ``hnsw.max_scan_tuples``, and IVFFlat looks at a few lists
        only. Too few rows are either all that match, or all that the index came across: where the
        planner says that an index was searched, the same query is run without one.
        """
        query = compiler.query
        wanted = query.high_mark - query.low_mark
        with self.local_settings(self._settings_for(query)):
            chunks = execute()
            if query.explain_info or query.exact:
                return chunks
            chunks = list(chunks)
            if sum(map(len, chunks)) < wanted and self._searches_index(compiler):
                compiler.query = self._exactly(query.whole or query)
                chunks = list(execute())
        return [self.in_order(compiler, chunks)]

    def explain_search(self, queryset: Any) -> tuple[str | None, str]:
        plan = json.loads(queryset.explain(format="json"))
        return next(searched_indexes(plan), None), queryset.explain()

    def why_unused(self, queryset: Any) -> str:
        if getattr(getattr(queryset.query, "search", None), "exact", False):
            return "exact=True was asked for."
        with self.local_settings({"enable_seqscan": "off", "enable_sort": "off"}):
            index, _ = self.explain_search(queryset)
        if index is None:
            return "The planner finds no way to use an index; is it migrated?"
        return (
            f"The planner finds another plan cheaper than a search of {index}: the table is small, "
            "or few rows pass the filter."
        )

    def _exactly(self, query: Any) -> Any:
        clone = query.clone()
        clone.exact = True
        return clone

    def _settings_for(self, query: Any) -> dict[str, Any]:
        if query.exact:
            return {}
        params = dict(query.search.params)
        hnsw = any(self.methods[index.method] == "hnsw" for index in query.search.indexes)
        candidates = self._candidates(query)
        if hnsw and "ef_search" not in params and candidates > DEFAULT_EF_SEARCH:
            self._raise_ef_search(params, candidates)
        return self.search_settings(params)

    def _raise_ef_search(self, params: dict[str, Any], count: int) -> None:
        """An index search has ``ef_search`` candidates at a time; more rows want more of them."""
        name = SETTINGS["ef_search"]
        current = int(self._current_settings([name])[name] or DEFAULT_EF_SEARCH)
        if count > current:
            params["ef_search"] = min(count, MAX_EF_SEARCH)

    def _searches_index(self, compiler: Any) -> bool:
        sql, params = compiler.as_sql()
        with self.connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            (plan,) = cursor.fetchone()
        return any(searched_indexes(json.loads(plan) if isinstance(plan, str) else plan))

    @contextlib.contextmanager
    def local_settings(self, settings: dict[str, Any]) -> Iterator[None]:
        """
        SET LOCAL inside a transaction: a plain SET would survive in a connection pool.

        SET LOCAL lasts until the end of the whole transaction, so what was set before is put back
        where one was open. An error undoes it together with the savepoint.
        """
        if not settings:
            yield
            return
        outer = self.connection.in_atomic_block or not self.connection.get_autocommit()
        before = self._current_settings(settings) if outer else {}
        with transaction.atomic(using=self.connection.alias):
            self._set_local(settings)
            yield
            if not self.connection.needs_rollback:
                self._set_local(before)

    def _current_settings(self, names: Iterable[str]) -> dict[str, Any]:
        listed = ", ".join(f"current_setting({literal(name)}, true)" for name in names)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {listed}")
            return dict(zip(names, cursor.fetchone(), strict=True))

    def _set_local(self, settings: dict[str, Any]) -> None:
        with self.connection.cursor() as cursor:
            for name, value in settings.items():
                # Unset, as they are before pgvector's library is loaded, settings read as nothing.
                written = "DEFAULT" if value in (None, "") else literal(value)
                cursor.execute(f"SET LOCAL {word(name)} = {written}")

    # Loading

    def why_not_copied(self, field: Any) -> str | None:
        from dorm_vector.engines.postgresql.copying import dumper

        if not hasattr(self.connection.Database, "adapters"):
            return "a binary COPY needs psycopg 3"
        if dumper(field, self.connection) is None:
            return f"no binary form is known of {field} ({type(field).__name__})"
        return super().why_not_copied(field)

    def loader(self, load: Any, fields: tuple[Any, ...]) -> Loader:
        from dorm_vector.engines.postgresql.copying import Copies

        return Copies(load, fields)

    def without_indexes(
        self, model: Any, settings: dict[str, Any]
    ) -> contextlib.AbstractContextManager[None]:
        return without_indexes(self, model, settings)

    def reindex(self, index: Any, model: Any) -> str | None:
        """``REINDEX INDEX CONCURRENTLY``: searches and writes go on meanwhile."""
        if self.connection.in_atomic_block:
            raise NotSupportedError("PostgreSQL makes no index anew within a transaction.")
        if reason := self.why_not_built(index, model):
            return reason
        with self.connection.cursor() as cursor:
            name = self.connection.ops.quote_name(index.name)
            cursor.execute(f"REINDEX INDEX CONCURRENTLY {name}")
        return None

    # Connections

    def prepare(self) -> None:
        """
        Let index scans go on until the rows that were asked for are found, and arrays be read.

        With pgvector's default an index yields ``ef_search`` candidates before WHERE is applied,
        so that a query silently comes back short.
        """
        if mode := conf.get("ITERATIVE_SCAN"):
            try:
                set_for_session(self.connection, "hnsw.iterative_scan", mode)
            except self.connection.Database.Error as error:
                logger.warning(REFUSED, self.connection.alias, error)
        read_arrays(self.connection.ops)

    # The extension

    def enable(self, schema_editor: Any) -> None:
        extension.create(schema_editor)

    def disable(self, schema_editor: Any) -> None:
        extension.drop(schema_editor)
