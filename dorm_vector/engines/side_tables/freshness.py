"""
FreshVector on SQLite and libSQL: a trigger AFTER UPDATE, which cannot change the row being written,
and so writes it again.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Table
from django.db.models import BaseConstraint, Model

from dorm_vector.engines.base.freshness import FreshnessStatement, Written, fresh_vectors
from dorm_vector.engines.side_tables.schema import FIND, MARK, SchemaObject, fold

__all__ = ["SideTableFreshness"]

# The mark stands before the table, where SQLite leaves it when the table is renamed.
CREATE = (
    "CREATE TRIGGER %(name)s %(mark)s AFTER UPDATE OF %(sources)s ON %(table)s "
    "WHEN (%(changed)s) AND %(kept)s "
    "BEGIN UPDATE %(table)s SET %(vector)s = NULL WHERE %(key)s; END"
)
DROP = "DROP TRIGGER IF EXISTS %(name)s"
# No UPDATE names a generated column.
WATCHED = " OF %(sources)s"
# Text is compared by its characters, even if the column takes 'a' and 'A' for the same.
CHANGED = "NEW.{0} COLLATE BINARY IS NOT OLD.{0}"
# What it contains, if a server keeps no comments: text without white space.
SIGN = "=NULLWHERE"


class SideTableFreshness:
    """The part of an engine that makes the triggers of FreshVector."""

    connection: Any

    @property
    def keeps_comments(self) -> bool:
        """Whether the database keeps the mark in what is made; libSQL's servers do not."""
        return not getattr(self.connection, "is_remote", False)

    def create_freshness(self, constraint: Any, model: Any, schema_editor: Any) -> Any:
        quote, table = schema_editor.quote_name, model._meta.db_table
        vector, sources = constraint.vector_in(model), constraint.sources_in(model)
        watched = [source.column for source in sources]
        # A primary key of several fields has no column of its own.
        key = [field.column for field in model._meta.pk_fields]
        template = CREATE
        if any(source.generated for source in sources):
            template = CREATE.replace(WATCHED, "")
        return FreshnessStatement(
            constraint.name,
            (template,),
            name=quote(constraint.name),
            mark=MARK,
            table=Table(table, quote),
            sources=Written(table, watched, quote, ", ".join),
            changed=Written(table, watched, quote, _changed),
            kept=Written(table, [vector.column], quote, _kept),
            vector=Written(table, [vector.column], quote, "".join),
            key=Written(table, key, quote, _key),
        )

    def remove_freshness(
        self,
        constraint: BaseConstraint,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
    ) -> Any:
        quote = schema_editor.quote_name
        table = Table(model._meta.db_table, quote)
        return FreshnessStatement(
            constraint.name, (DROP,), name=quote(constraint.name), table=table
        )

    def settle_freshness(self, statement: Any) -> list[str]:
        drops = [
            DROP % {"name": self.connection.ops.quote_name(found.name)}
            for found in self.triggers(statement.name)
            if self._is_of(statement, found)
        ]
        return drops if statement.templates == (DROP,) else [*drops, *statement.statements()]

    def kept_freshness(
        self, model: type[Model], altered: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> dict[str, Any]:
        """
        The statements for triggers that their model cannot make, by name.

        RenameField leaves the old names of fields in a constraint.
        """
        misfits = [each for each in fresh_vectors(model) if each.misfit(model)]
        if schema_editor.collect_sql or not misfits:
            return {}
        kept: dict[str, Any] = {}
        names = {each.name for each in misfits}
        for constraint in misfits:
            removal = self.remove_freshness(constraint, model, schema_editor)
            for found in filter(partial(self._is_of, removal), self.triggers(constraint.name)):
                kept[constraint.name] = self._altered(str(found.sql), altered)
        for statement in schema_editor.deferred_sql:
            if isinstance(statement, FreshnessStatement) and statement.name in names - kept.keys():
                kept[statement.name] = self._altered(str(statement), altered)
        return kept

    def _altered(self, sql: str, altered: Any) -> str:
        quote = self.connection.ops.quote_name
        for old, new in altered:
            sql = sql.replace(quote(old.column), quote(new.column))
        return sql

    def triggers(self, name: str) -> list[SchemaObject]:
        """The triggers with a name, on any table."""
        self.connection.ensure_connection()
        rows = self.connection.connection.execute(FIND.format(places="?"), (fold(name),) * 2)
        bearers = [SchemaObject(*row) for row in rows.fetchall()]
        return [bearer for bearer in bearers if bearer.type.endswith("trigger")]

    def _is_of(self, statement: Any, found: SchemaObject) -> bool:
        """Raise ProgrammingError if the trigger was not made for this table."""
        # An index has triggers with the mark as well.
        signed = SIGN in "".join((found.sql or "").split())
        of_table = found.is_of("trigger", statement.table.strip('"'))
        made = signed and of_table and found.is_made(None if self.keeps_comments else SIGN)
        if not made:
            statement.refuse(found.type, self.connection.alias)
        return made


def _changed(columns: list[str]) -> str:
    return " OR ".join(CHANGED.format(column) for column in columns)


def _kept(columns: list[str]) -> str:
    (column,) = columns
    return f"NEW.{column} IS NOT NULL AND NEW.{column} IS OLD.{column}"


def _key(columns: list[str]) -> str:
    return " AND ".join(f"{column} = NEW.{column}" for column in columns)
