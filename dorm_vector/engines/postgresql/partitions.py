"""An index of a partitioned table, built partition by partition while searches and writes go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db import Error, NotSupportedError, OperationalError, ProgrammingError
from django.db.backends.ddl_references import Statement
from django.db.backends.utils import names_digest
from django.db.models import Model

__all__ = ["add_index_by_parts", "build", "is_partitioned"]

logger = logging.getLogger("dorm_vector")

# PostgreSQL looks whether all partitions have their part when one is attached, and then only.
STAYS_INVALID = (
    "%s serves every partition, and PostgreSQL keeps it marked INVALID, since a partition was "
    "detached or dropped while it was built; to have it valid, drop it and migrate again."
)
OPERATION = "AddPartitionedIndexConcurrently"
# Of undefined_table, and of object_not_in_prerequisite_state and invalid_object_definition, which
# ATTACH raises for a table that is no partition any more.
GONE = {"42P01", "55000", "42P17"}
# What tells the parts of an index apart at the end of their names.
DIGEST = 8

# Partitioned tables, and their indexes.
PARTITIONED, PARTITIONED_INDEX, FOREIGN = "p", "I", "f"

TABLE = """
SELECT c.oid, n.oid, n.nspname, c.relname, c.relkind, quote_ident(n.nspname),
    quote_ident(c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%s)
"""
# The partitions right below a table.
PARTS = """
SELECT c.oid, n.oid, n.nspname, c.relname, c.relkind, quote_ident(n.nspname),
    quote_ident(c.relname)
FROM pg_catalog.pg_inherits h
JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE h.inhparent = %s AND NOT h.inhdetachpending
ORDER BY n.nspname, c.relname
"""
# The tables whose index is part of another one, by the name of that.
SERVED = """
SELECT x.indrelid
FROM pg_catalog.pg_class i
JOIN pg_catalog.pg_inherits h ON h.inhparent = i.oid
JOIN pg_catalog.pg_index x ON x.indexrelid = h.inhrelid
WHERE i.relnamespace = %s AND i.relname = %s::name
"""
# An index of a table by its name, which the database may have cut.
INDEX = """
SELECT i.relkind, x.indisvalid, b.pid, am.amname, COALESCE(i.reloptions, '{}'::text[]),
    ARRAY(
        SELECT o.opcname::text FROM unnest(x.indclass) WITH ORDINALITY AS c (oid, place)
        JOIN pg_catalog.pg_opclass o ON o.oid = c.oid ORDER BY c.place
    ),
    ARRAY(
        SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY AS k (number, place)
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number
        ORDER BY k.place
    ),
    pg_catalog.pg_get_indexdef(i.oid)
FROM pg_catalog.pg_class i
JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid
JOIN pg_catalog.pg_am am ON am.oid = i.relam
LEFT JOIN pg_catalog.pg_stat_progress_create_index b ON b.index_relid = i.oid
WHERE x.indrelid = %s AND i.relname = %s::name
"""


class Table(NamedTuple):
    """A row of TABLE or PARTS."""

    oid: int
    schema_oid: int
    schema: str
    name: str
    kind: str
    #: As they stand in SQL: partitions, whose names no model gives, may be called anything.
    quoted_schema: str
    quoted_name: str


class Found(NamedTuple):
    """A row of INDEX."""

    kind: str
    is_valid: bool
    #: The process that builds it at the moment.
    builder: int | None
    method: str
    options: list[str]
    operator_classes: list[str]
    #: The columns, and None for what is an expression.
    columns: list[str | None]
    definition: str


def add_index_by_parts(engine: Any, model: type[Model], index: Any, editor: Any) -> None:
    """
    Add an index of a partitioned table without a long lock; of another table, as ``AddIndex`` does.

    Raises NotSupportedError within a transaction.
    """
    if engine.connection.in_atomic_block:
        raise NotSupportedError(
            f"The {OPERATION} operation cannot be executed inside a transaction (set atomic = "
            "False on the migration)."
        )
    if is_partitioned(engine, model):
        build(engine, model, index, editor)
    else:
        editor.add_index(model, index)


def is_partitioned(engine: Any, model: type[Model]) -> bool:
    """Whether the table of a model is there, and has partitions."""
    table = _table(engine, model)
    return table is not None and table.kind == PARTITIONED


def build(engine: Any, model: type[Model], index: Any, editor: Any) -> None:
    """
    Build what is missing of an index of a partitioned table, all of it where nothing is there.

    ``CREATE INDEX ... ON ONLY`` the table, then on each partition ``CREATE INDEX CONCURRENTLY`` and
    ATTACH. What an earlier run has built stays; what it left INVALID is dropped and built again.

    Raises ProgrammingError where the index is there with another definition, and OperationalError
    where another session builds a part of it.
    """
    table = _table(engine, model)
    statement = index.create_sql(model, editor)
    if table is None or "table" not in statement.parts:  # a statement that builds nothing
        editor.execute(statement, params=None)
        return
    Build(engine, model, index, editor).run(table)


def _table(engine: Any, model: Any) -> Table | None:
    quoted = engine.connection.ops.quote_name(model._meta.db_table)
    return next(iter(_tables(engine, TABLE, quoted)), None)


def _tables(engine: Any, sql: str, parameter: object) -> list[Table]:
    return [Table(*row) for row in _rows(engine, sql, parameter)]


def _rows(engine: Any, sql: str, *parameters: object) -> list[Any]:
    with engine.connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows


class Build:
    """One run of the operation, or what ``sqlmigrate`` shows of one."""

    def __init__(self, engine: Any, model: Any, index: Any, editor: Any) -> None:
        self.engine, self.model, self.index, self.editor = engine, model, index, editor
        self.quote = editor.quote_name

    def run(self, table: Table) -> None:
        found = self._found(table, self.index.name)
        if found is not None and found.is_valid:
            return
        if any(part.kind == FOREIGN for part in self._all_parts(table)):
            self._run_beside_foreign(table)
        else:
            self._on_all(table, self.index.name)
        found = self._found(table, self.index.name)
        if found is not None and not found.is_valid:
            logger.warning(STAYS_INVALID, self.index.name)

    def _run_beside_foreign(self, table: Table) -> None:
        """
        Build the parts first, which CREATE INDEX then takes as they are.

        An index ON ONLY the table would never be valid: PostgreSQL counts foreign tables, which
        have none, among those that lack it.
        """
        for part in self._all_parts(table):
            if part.kind not in (PARTITIONED, FOREIGN):
                self._on_leaf(part)
        self._execute(self._statement(table, self.index.name))

    def _on_all(self, table: Table, name: str) -> None:
        """The index of a table with partitions, and its parts, whatever comes to be meanwhile."""
        if self._found(table, name) is None:
            self._execute(self._statement(table, name, only=True))
        while waiting := self._waiting(table, name):
            for part in waiting:
                self._on_part(table, name, part)
            if self.editor.collect_sql:
                return

    def _on_part(self, table: Table, name: str, part: Table) -> None:
        """A part of the index, attached; nothing where the partition was detached meanwhile."""
        try:
            if part.kind == PARTITIONED:
                self._on_all(part, self._name(part))
            else:
                self._on_leaf(part)
            whole, attached = self._qualified(table, name), self._qualified(part, self._name(part))
            self._execute(f"ALTER INDEX {whole} ATTACH PARTITION {attached}")
        except Error as error:
            cause: Any = error.__cause__
            state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
            if state not in GONE or part.oid in {each.oid for each in self._parts(table)}:
                raise

    def _on_leaf(self, part: Table) -> None:
        name = self._name(part)
        found = self._found(part, name)
        if found is not None and found.builder is not None:
            raise OperationalError(
                f"{name} of the partition {part.name} is being built by the server process "
                f"{found.builder}: wait for it, then migrate again."
            )
        if found is not None and not found.is_valid:
            self._execute(f"DROP INDEX CONCURRENTLY {self._qualified(part, name)}")
        if found is None or not found.is_valid:
            self._execute(self._statement(part, name, concurrently=True))

    def _statement(
        self, table: Table, name: str, *, only: bool = False, concurrently: bool = False
    ) -> Statement:
        given = {"concurrently": True} if concurrently else {}
        statement: Statement = self.index.create_sql(self.model, self.editor, **given)
        parts: dict[str, Any] = statement.parts
        parts["table"] = f"{'ONLY ' * only}{table.quoted_schema}.{table.quoted_name}"
        parts["name"] = self.quote(name)
        return statement

    def _execute(self, statement: Any) -> None:
        self.editor.execute(statement, params=None)

    # What there is

    def _waiting(self, table: Table, name: str) -> list[Table]:
        """The partitions of a table that have no part of its index."""
        served: set[int] = set()
        if not self.editor.collect_sql:
            served = {oid for (oid,) in _rows(self.engine, SERVED, table.schema_oid, name)}
        return [part for part in self._parts(table) if part.oid not in served]

    def _parts(self, table: Table) -> list[Table]:
        return _tables(self.engine, PARTS, table.oid)

    def _all_parts(self, table: Table) -> Iterator[Table]:
        for part in self._parts(table):
            yield part
            yield from self._all_parts(part)

    def _found(self, table: Table, name: str) -> Found | None:
        """The index of a name, if it is there. Raises ProgrammingError for another one."""
        if self.editor.collect_sql:
            return None
        rows = _rows(self.engine, INDEX, table.oid, name)
        found = Found(*rows[0]) if rows else None
        # Those of Django's are not compared.
        if found is None or not hasattr(self.index, "parameters") or self._is_declared(found):
            return found
        raise ProgrammingError(
            f"The index {name!r} is in the database with another definition than the "
            f"migration's: {found.definition}. Drop it, then migrate again."
        )

    def _is_declared(self, found: Found) -> bool:
        """Whether an index has the method, the options, the classes and the columns declared."""
        declared = self.index.parameters("storage")
        options = sorted(f"{name}={value}" for name, value in declared.items())
        others = self.index.other_columns()
        classes = [*self.index.opclasses_for(self.model), *others.values()]
        fields = map(self.model._meta.get_field, [*self.index.fields, *others])
        columns = zip(found.columns, [field.column for field in fields], strict=False)
        return (
            (found.method, sorted(found.options))
            == (self.engine.access_method(self.index), options)
            and classes in ([], found.operator_classes)
            and all(there in (None, column) for there, column in columns)
        )

    # Names

    def _name(self, part: Table) -> str:
        """The name of an index of a partition, the same in each run."""
        digest = names_digest(self.index.name, part.schema, part.name, length=DIGEST)
        room = self.engine.connection.ops.max_name_length() - DIGEST - 1
        cut = self.index.name.encode()[:room].decode(errors="ignore")
        return f"{cut}_{digest}"

    def _qualified(self, table: Table, name: str) -> str:
        return f"{table.quoted_schema}.{self.quote(name)}"
