"""
An index that is a table beside the table of its model, kept in step by triggers.

SQLite and libSQL serve no ``ORDER BY distance`` from an index: theirs are queried for rows. The
side table has the name of the index. It is never renamed, which would break it for good, but
dropped and filled again.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, NamedTuple

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Columns, Statement, Table
from django.db.models import Model

from dorm_vector.engines.base import Engine
from dorm_vector.engines.side_tables.embedding import SideTableEmbedding
from dorm_vector.engines.side_tables.freshness import SideTableFreshness
from dorm_vector.engines.side_tables.inspection import SideTableInspection
from dorm_vector.engines.side_tables.introspection import SideTableIntrospection
from dorm_vector.engines.side_tables.schema import (
    FIND,
    MARK,
    Removal,
    SchemaObject,
    SideTableEditor,
    SideTableStatement,
    Site,
    fold,
    require_side_tables,
    with_side_tables,
)
from dorm_vector.engines.side_tables.search import COUNT, SideTableSearch

__all__ = ["SideTableEngine"]

# The columns that fire an UPDATE trigger.
WATCHED = " OF %(pk)s, %(column)s"

DROP = "DROP {type} {name}"


class Names(NamedTuple):
    """What is made for an index besides its side table, by suffix of its name."""

    #: What is of the model's table, and of the side table, with its type.
    of_table: dict[str, str]
    of_side_table: dict[str, str]
    #: What identifies the former if a server keeps no comments: text without white space.
    signs: dict[str, str]
    #: The tables that the database makes for a side table, by the end of their SQL, or a pattern.
    shadows: dict[str, str | re.Pattern[str]]
    #: Other tables that are made for an index.
    tables: tuple[str, ...] = ()

    @property
    def endings(self) -> list[str]:
        return [*self.of_table, *self.of_side_table, *self.shadows, *self.tables]

    def is_shadow(self, ending: str, site: Site, bearer: SchemaObject) -> bool:
        """Whether a table has the columns of the one that the database would make."""
        columns, sql = self.shadows[ending], bearer.sql or ""
        if isinstance(columns, str):
            return sql.endswith(columns.format(index=site.name))
        return columns.search(sql) is not None


class SideTableEngine(
    SideTableEmbedding,
    SideTableFreshness,
    SideTableInspection,
    SideTableSearch,
    SideTableIntrospection,
    Engine,
):
    """The engine of a database whose indexes are side tables."""

    index_methods = frozenset({"vector"})

    #: The statements that build a side table and its triggers, and those that remove them.
    create_templates: ClassVar[tuple[str, ...]] = ()
    drop_templates: ClassVar[tuple[str, ...]] = ()
    #: What is made of the model's table, and of the side table, by the ending of its name.
    of_table: ClassVar[dict[str, str]] = {}
    of_side_table: ClassVar[dict[str, str]] = {}
    #: What tells the former, by ending, where a server keeps no comments: text without white space.
    signs: ClassVar[dict[str, str]] = {}
    #: The tables that the database makes for a side table, by ending, with their columns.
    shadows: ClassVar[dict[str, str]] = {}
    #: By metric, the condition that the index can hold, and compare, the vector of ``{row}``.
    storable: ClassVar[dict[str, str]] = {}
    #: The library that an index is made by, for sentences.
    maker: ClassVar[str] = ""

    @classmethod
    def prepare_editors(cls, wrapper: Any) -> None:
        if not issubclass(wrapper.SchemaEditorClass, SideTableEditor):
            wrapper.SchemaEditorClass = with_side_tables(wrapper.SchemaEditorClass)

    # Building

    def create_index(
        self,
        index: Any,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        **kwargs: object,
    ) -> Statement:
        if self.why_not_built(index, model):
            return self._nothing_built(index, model)
        require_side_tables(schema_editor)
        if not schema_editor.collect_sql:
            self.check_names(index, model)
        statement = self._building(index, model, schema_editor)
        statement.method = index.method
        return statement

    def _building(
        self, index: Any, model: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> SideTableStatement:
        templates = self.templates(index)
        if model._meta.get_field(index.fields[0]).generated:  # no UPDATE names its column
            templates = tuple(template.replace(WATCHED, "") for template in templates)
        parts = self._parts(index, model, schema_editor)
        value = self.stored_value(index, parts["dimensions"])
        rows = {"storable": self.storable[index.metric], "value": value}
        return SideTableStatement(index.name, templates, rows, **parts)

    def templates(self, index: Any) -> tuple[str, ...]:
        """The statements that build the side table of an index."""
        return self.create_templates

    def drop_templates_of(self, index: Any) -> tuple[str, ...]:
        """The statements that remove what an index may have."""
        return self.drop_templates

    def stored_value(self, index: Any, dimensions: int) -> str:
        """What the side table has of the vector of ``{row}``."""
        return "{row}%(column)s"

    def remove_index(
        self,
        index: Any,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        **kwargs: object,
    ) -> Statement:
        if index.method not in self.index_methods:
            return self._nothing_built(index, model)
        require_side_tables(schema_editor)
        built = self._is_built(index, model)
        if schema_editor.collect_sql and not built:
            return self._nothing_built(index, model)
        parts: dict[str, Any] = self._names(index, schema_editor)
        parts["table"] = Table(model._meta.db_table, schema_editor.quote_name)
        removal = Removal(index.name, self.drop_templates_of(index), None, **parts)
        removal.strict, removal.method = built, index.method
        return removal

    def _is_built(self, index: Any, model: type[Model]) -> bool:
        """Whether ``why_not_built`` refuses, even after a migration has renamed the field."""
        try:
            return self.why_not_built(index, model) is None
        except (FieldDoesNotExist, FieldError):
            return True

    def why_not_built(self, index: Any, model: type[Model]) -> str | None:
        reason = super().why_not_built(index, model)
        return self._why_no_vectors(index, model) if index.method == "vector" else reason

    def _why_no_vectors(self, index: Any, model: type[Model]) -> str | None:
        """Why a vector index is not built here, the first half of a sentence; None if it is."""
        field = index.vector_field(model)
        most = self.most_dimensions(index, field.kind)
        if most is None:
            return f"{self.maker} has no index of {field.kind} vectors"
        if index.metric not in self.storable:
            return f"{self.maker} has no index for the metric {index.metric!r}"
        if field.dimensions > most:
            return f"{self.maker} indexes {most} dimensions at most"
        if index.condition is not None:
            return f"{self.maker} has no partial index"
        return None

    def _names(self, index: Any, schema_editor: BaseDatabaseSchemaEditor) -> dict[str, str]:
        quote, names = schema_editor.quote_name, self.names_of(index.method)
        endings = (*names.of_table, *names.of_side_table, *names.tables)
        others = {ending: quote(f"{index.name}_{ending}") for ending in endings}
        return {"index": quote(index.name), "mark": MARK, **others}

    def _parts(
        self, index: Any, model: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> dict[str, Any]:
        quote = schema_editor.quote_name
        table = model._meta.db_table
        return {
            "table": Table(table, quote),
            "pk": Columns(table, [model._meta.pk.column], quote),
            "column": Columns(table, [model._meta.get_field(index.fields[0]).column], quote),
            "dimensions": index.vector_field(model).dimensions,
            "metric": index.metric,
            **self._names(index, schema_editor),
        }

    # What there is of an index, and what bears its names without being of it

    def names_of(self, method: str) -> Names:
        """What is made for an index of a method."""
        return Names(self.of_table, self.of_side_table, self.signs, dict(self.shadows))

    def made_names(self, index: Any) -> list[str]:
        endings = self.names_of(index.method).endings
        return [index.name, *(f"{index.name}_{ending}" for ending in endings)]

    def same_name(self, name: str) -> str:
        return fold(name)

    def check_names(self, index: Any, model: type[Model]) -> None:
        """Raise ProgrammingError if something else has a name that an index needs."""
        if not self._is_built(index, model):
            return
        site = Site.of(index, model)
        for name in self.made_names(index):
            if site.is_its_table(name):
                found = SchemaObject("table", name, name, None)
                site.refuse(found, self.connection.alias)
        self._found(site)

    def removal(self, site: Site, *, strict: bool = True) -> list[str]:
        """
        The statements that drop what exists of an index, and nothing else.

        ``strict`` ones raise ProgrammingError if something else has a name of the index.
        """
        found, names = self._found(site, strict=strict), self.names_of(site.method)
        # Shadow tables go with their table.
        shadows = () if "" in found else names.shadows
        return [
            statement
            for ending in (*names.of_table, "", *shadows, *names.tables)
            if ending in found and (ending not in names.shadows or found[ending].type == "table")
            for statement in self._drop(site, found[ending], set(found))
        ]

    def _drop(self, site: Site, found: SchemaObject, endings: set[str]) -> list[str]:
        name = self.connection.ops.quote_name(found.name)
        return [DROP.format(type=found.type.upper(), name=name)]

    def _found(self, site: Site, *, strict: bool = True) -> dict[str, SchemaObject]:
        """What exists of an index, by suffix."""
        own: dict[str, SchemaObject] = {}
        found = self._bearers(site)
        for ending, bearer in found:
            if self._is_own(site, ending, bearer, found):
                own[ending] = bearer
            elif strict:
                site.refuse(bearer, self.connection.alias)
        return own

    def _bearers(self, site: Site) -> list[tuple[str, SchemaObject]]:
        endings = ["", *self.names_of(site.method).endings]
        names = {fold(f"{site.name}_{end}" if end else site.name): end for end in endings}
        sql = FIND.format(places=", ".join("?" * len(names)))
        self.connection.ensure_connection()
        rows = self.connection.connection.execute(sql, (*names, *names)).fetchall()
        return [(names[fold(row[1])], SchemaObject(*row)) for row in rows]

    def _is_own(
        self, site: Site, ending: str, bearer: SchemaObject, found: list[tuple[str, SchemaObject]]
    ) -> bool:
        names = self.names_of(site.method)
        if ending in names.of_table:
            sign = names.signs.get(ending)
            made = bearer.is_made(sign and sign.format(index=site.name))
            return made and bearer.is_of(names.of_table[ending], site.table)
        if ending in names.tables:
            return bearer.is_made() and bearer.is_of("table", f"{site.name}_{ending}")
        made = any(end == "" and self._is_side_table(site, one) for end, one in found)
        if ending == "":
            return made
        # What belongs to the side table goes with it, and is never dropped by name.
        if ending in names.of_side_table:
            return made and bearer.is_of(names.of_side_table[ending], site.name)
        # A shadow table has no mark: its table has, or it has the columns of what was left behind.
        left = not any(end == "" for end, _ in found) and names.is_shadow(ending, site, bearer)
        return bearer.type in ("table", "index") and (made or left)

    def _is_side_table(self, site: Site, bearer: SchemaObject) -> bool:
        return bearer.is_made() and bearer.is_of("table", site.name)

    def reindex(self, index: Any, model: type[Model], progress: Any = None) -> str | None:
        """Drop what exists of an index, and build it if it is built here."""
        if index.method not in self.index_methods:
            return super().reindex(index, model)
        reason = self.why_not_built(index, model)
        with transaction.atomic(self.connection.alias), self.connection.cursor() as cursor:
            editor = self.connection.SchemaEditorClass(self.connection, atomic=False)
            make = self.remove_index if reason else self.create_index
            made: Any = make(index, model, editor)
            drops = self.removal(made.site, strict=not reason)
            for statement in drops if reason else [*drops, *made.statements]:
                cursor.execute(statement)
        return reason

    def _is_present(self, table: str) -> bool:
        """Whether everything that searches and later writes need exists."""
        names = self._needed(table)
        sql = COUNT.format(places=", ".join("?" * len(names)))
        return bool(self.connection.connection.execute(sql, names).fetchone()[0] == len(names))

    def _needed(self, table: str) -> tuple[str, ...]:
        endings = (*self.of_table, *self.of_side_table, *self.shadows)
        return (table, *(f"{table}_{ending}" for ending in endings))
