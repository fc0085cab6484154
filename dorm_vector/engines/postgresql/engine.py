"""PostgreSQL with the pgvector extension."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable
from typing import Any

from django.core.checks import CheckMessage
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Columns, Statement
from django.db.models import Field, Model

from dorm_vector import codecs, conf
from dorm_vector.declarations import kinds_held
from dorm_vector.engines.base import Engine
from dorm_vector.engines.base.inspection import Reported
from dorm_vector.engines.base.loaders import Loader
from dorm_vector.engines.base.schema import with_alterations
from dorm_vector.engines.postgresql import checks, extension
from dorm_vector.engines.postgresql.arrays import read_arrays
from dorm_vector.engines.postgresql.embedding import PostgreSQLEmbedding
from dorm_vector.engines.postgresql.freshness import PostgreSQLFreshness
from dorm_vector.engines.postgresql.inspection import PostgreSQLInspection
from dorm_vector.engines.postgresql.introspection import PostgreSQLIntrospection
from dorm_vector.engines.postgresql.partitions import add_index_by_parts
from dorm_vector.engines.postgresql.rebuilding import without_indexes
from dorm_vector.engines.postgresql.reindexing import reindex
from dorm_vector.engines.postgresql.schema import PostgreSQLAlterations
from dorm_vector.engines.postgresql.search import PostgreSQLSearch, reduced_sql
from dorm_vector.engines.postgresql.session import naming_replica, set_for_session
from dorm_vector.engines.postgresql.text import PostgreSQLText
from dorm_vector.kinds import DENSE_KINDS, KINDS, NUMERIC_KINDS
from dorm_vector.sql import literal, word

logger = logging.getLogger("dorm_vector")

# A name with the prefix ``hnsw`` is accepted where pgvector is missing, but not where pgvector is
# already loaded and older than 0.8.
REFUSED = (
    "hnsw.iterative_scan cannot be set on the database %r, so that filtered searches may return "
    "too few rows: %s"
)

# Source: https://github.com/pgvector/pgvector#reference
FUNCTIONS = {
    "norm": {**dict.fromkeys(NUMERIC_KINDS, "l2_norm({a})"), "vector": "vector_norm({a})"},
    "dims": {**dict.fromkeys(DENSE_KINDS, "vector_dims({a})"), "bit": "length({a})"},
    "normalize": dict.fromkeys(NUMERIC_KINDS, "l2_normalize({a})"),
    "subvector": dict.fromkeys(DENSE_KINDS, "subvector({a}, {start}, {length})"),
    "quantize": dict.fromkeys(DENSE_KINDS, "binary_quantize({a})"),
    "add": dict.fromkeys(DENSE_KINDS, "({a} + {b})"),
    "subtract": dict.fromkeys(DENSE_KINDS, "({a} - {b})"),
    "multiply": dict.fromkeys(DENSE_KINDS, "({a} * {b})"),
    "concat": {**dict.fromkeys(DENSE_KINDS, "({a} || {b})"), "bit": "({a} || {b})"},
    "json": dict.fromkeys(DENSE_KINDS, "({a}::text::jsonb)"),
    "sum": dict.fromkeys(DENSE_KINDS, "sum({a}){filter}"),
    "avg": dict.fromkeys(DENSE_KINDS, "avg({a}){filter}"),
}


# A norm within the range: in the only one of its buckets, which are numbered 0, 1 and 2.
ORDINARY = "mod(width_bucket({norm}, '1e-17', '1e18', 1), 2) <> 0"


class CastColumns(Columns):
    """The one column of an index, inside an expression."""

    def __init__(
        self, table: str, columns: list[str], quote_name: Callable[[str], str], template: str
    ) -> None:
        super().__init__(table, columns, quote_name)
        self.template = template

    def __str__(self) -> str:
        return self.template % super().__str__()


class PostgreSQLEngine(
    PostgreSQLEmbedding,
    PostgreSQLFreshness,
    PostgreSQLInspection,
    PostgreSQLSearch,
    PostgreSQLText,
    PostgreSQLIntrospection,
    Engine,
):
    """pgvector's types, operators and indexes."""

    name = "postgresql"

    column_types = {
        "vector": "vector({dimensions})",
        "halfvec": "halfvec({dimensions})",
        "bit": "bit({dimensions})",
        "sparsevec": "sparsevec({dimensions})",
    }
    # A cast to bit alone would mean bit(1).
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
    native_aggregates = frozenset({"Avg", "Sum"})
    casts_text = True
    has_arrays = True
    listed_value = "CAST({value} AS {type})"
    # NaN is greater than all numbers, and would be the greatest similarity.
    similarity_template = (
        "CASE WHEN {a} IS NOT NULL AND {b} IS NOT NULL "
        "THEN - LEAST({distance} - 1, 'Infinity'::float8) END"
    )
    undefined = ("'NaN'", "'Infinity'", "'-Infinity'")
    functions = FUNCTIONS
    conversions = {("vector", "halfvec"): "{a}::halfvec", ("halfvec", "vector"): "{a}::vector"}
    layouts = {
        "vector": codecs.Layout("f", ">", header=4),
        "halfvec": codecs.Layout("e", ">", header=4),
    }
    defined_templates = ("{distance} IS NOT NULL", "{distance} < 'Infinity'")
    # Beyond these lengths squares vanish or overflow in float32: pgvector's distance is 0 or NaN.
    # The planner has to see that nearly all rows pass, or it would take no index: it believes that
    # of <> alone, and not of pgvector's, which it takes for an equality.
    nonzero_templates = {
        "vector": ORDINARY.format(norm="vector_norm({a})"),
        "halfvec": "l2_norm({a}) <> 0",
        "sparsevec": ORDINARY.format(norm="l2_norm({a})"),
    }
    methods = {"vector": "hnsw", "hnsw": "hnsw", "ivfflat": "ivfflat"}
    # Introspection reads those of pgvector alone.
    index_methods = frozenset({*methods, "diskann", "text"})
    needs_extension = True
    index_serves_order = True
    index_dimensions = {"vector": 2000, "halfvec": 4000, "bit": 64_000}
    btree_dimensions = 672

    def cast_type(self, kind: str, dimensions: int) -> str:
        return self.column_type(kind, dimensions)

    def encode(self, packed: Any, kind: str = "vector") -> str:
        return codecs.packed_to_text(packed) if kind in DENSE_KINDS else KINDS[kind].to_text(packed)

    def decode(self, value: object, kind: str = "vector", dimensions: int | None = None) -> Any:
        # Raw SQL, RETURNING and array aggregates deliver text, and a type adapter that the
        # project has registered delivers objects of its own.
        return super().decode(bytes(value) if isinstance(value, memoryview) else value, kind)

    def _decode_bytes(self, value: bytes, kind: str, dimensions: int | None) -> Any:
        read = {"vector": codecs.from_network, "halfvec": codecs.from_network_float16}[kind]
        return read(value)

    # Indexes

    def access_method(self, index: Any) -> str:
        """The database's name for the method of an index."""
        return str(self.methods.get(index.method, index.method))

    def why_not_built(self, index: Any, model: type[Model]) -> str | None:
        # Methods that a project's class declares for the database.
        known = self.own(dict.fromkeys(getattr(index, "engines", ()), True))
        return None if known else super().why_not_built(index, model)

    @classmethod
    def prepare_editors(cls, wrapper: BaseDatabaseWrapper) -> None:
        wrapper.SchemaEditorClass = with_alterations(
            wrapper.SchemaEditorClass, PostgreSQLAlterations
        )

    def create_index(
        self, index: Any, model: Any, schema_editor: BaseDatabaseSchemaEditor, **kwargs: Any
    ) -> Statement:
        if index.method == "text":
            return self.create_text_index(index, model, schema_editor, **kwargs)
        prepared = copy.copy(index)
        others = index.other_columns()
        opclasses = list(map(word, [*index.opclasses_for(model), *others.values()]))
        prepared.opclasses = opclasses
        prepared.fields_orders = [*index.fields_orders, *((name, "") for name in others)]
        using = f" USING {word(self.access_method(index))}"
        statement: Statement = models.Index.create_sql(
            prepared, model, schema_editor, using=using, **kwargs
        )
        if index.reduction:
            field = index.vector_field(model)
            cast = reduced_sql(index.reduction, "%s", field.kind, field.dimensions)
            column = model._meta.get_field(index.fields[0]).column
            columns = (model._meta.db_table, [column], schema_editor.quote_name)
            statement.parts["columns"] = CastColumns(*columns, f"({cast}) {opclasses[0]}")
        if options := index.parameters("storage"):
            listed = ", ".join(
                f"{word(name)} = {literal(value)}" for name, value in options.items()
            )
            parts: dict[str, Any] = statement.parts
            parts["extra"] = f" WITH ({listed}){parts['extra']}"
        return statement

    def remove_index(
        self,
        index: Any,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        **kwargs: object,
    ) -> Any:
        return models.Index.remove_sql(index, model, schema_editor, **kwargs)

    def add_index_by_parts(
        self, model: type[Model], index: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        add_index_by_parts(self, model, index, schema_editor)

    # Loading

    def why_not_copied(self, field: Field) -> str | None:
        if not hasattr(self.connection.Database, "adapters"):
            return "a binary COPY needs psycopg 3"
        from dorm_vector.engines.postgresql.dumpers import dumper

        if dumper(field, self.connection) is None:
            return f"no binary form is known of {field} ({type(field).__name__})"
        return super().why_not_copied(field)

    def loader(self, load: Any, fields: tuple[Any, ...]) -> Loader:
        from dorm_vector.engines.postgresql.copying import Copies

        return Copies(load, fields)

    def loading(self) -> contextlib.AbstractContextManager[None]:
        return naming_replica(self.connection.alias)

    def without_indexes(
        self, model: type[Model], settings: dict[str, Any]
    ) -> contextlib.AbstractContextManager[None]:
        return without_indexes(self, model, settings)

    def reindex(self, index: Any, model: Any, progress: Reported | None = None) -> str | None:
        if reason := self.why_no_text_index(index, model):
            return reason
        reindex(self, index, model, progress)
        return None

    # Connections

    def prepare(self) -> None:
        """
        Let index scans go on until enough rows are found, and arrays be read.

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

    def check_database(self) -> list[CheckMessage]:
        kinds, labels = kinds_held(self.connection.alias)
        return checks.check(self.connection, kinds, labels)

    def enable(self, schema_editor: BaseDatabaseSchemaEditor, *, schema: str | None = None) -> None:
        extension.create(schema_editor, schema)

    def disable(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        extension.drop(schema_editor)

    def enable_other(
        self, name: str, schema_editor: BaseDatabaseSchemaEditor, *, schema: str | None = None
    ) -> None:
        extension.create_other(name, schema_editor, schema)

    def disable_other(self, name: str, schema_editor: BaseDatabaseSchemaEditor) -> None:
        extension.drop(schema_editor, name)
