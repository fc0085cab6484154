"""
Side tables in a schema editor: several statements in one, and nothing dropped that others made.

SQLite's names ignore case, and tables, views and indexes share one namespace. What is made here
has a mark in its SQL, which the database keeps; a name that belongs to anything else is refused.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import ProgrammingError
from django.db.backends.ddl_references import Statement

from dorm_vector.engines import engine_for
from dorm_vector.engines.base.schema import VectorAlterations, differ

__all__ = [
    "FIND",
    "MARK",
    "SchemaObject",
    "SideTableEditor",
    "SideTableStatement",
    "Site",
    "fold",
    "with_side_tables",
]

#: Stands in the SQL of everything that is made, and tells what may be dropped.
MARK = "/* dorm_vector */"

# What has a name. A temporary table would be dropped instead of a table with the same name.
FIND = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name COLLATE NOCASE IN ({places}) "
    "UNION ALL SELECT 'temporary ' || type, name, tbl_name, sql FROM sqlite_temp_master "
    "WHERE name COLLATE NOCASE IN ({places})"
)

# The prefix of the table that Django fills to replace another.
REMADE = "new__"


def fold(name: str) -> str:
    """A name as SQLite compares it, ignoring the case of ASCII letters."""
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


class SchemaObject(NamedTuple):
    """A row of SQLite's schema."""

    type: str
    name: str
    table: str
    sql: str | None

    def is_of(self, type_: str, table: str) -> bool:
        """Whether it has a type, and belongs to a table, or to the one that the table remakes."""
        tables = (fold(self.table), fold(REMADE + self.table))
        return self.type == type_ and fold(table) in tables

    def is_made(self, sign: str | None = None) -> bool:
        """Whether it was made here: it has the mark, or a sign if a server keeps no comments."""
        squeezed = "".join((self.sql or "").split())
        return MARK in (self.sql or "") or (sign is not None and sign in squeezed)


class Site(NamedTuple):
    """The name of an index, the table that it is of, and its method."""

    name: str
    table: str
    method: str = "vector"

    @classmethod
    def of(cls, index: Any, model: Any) -> Site:
        return cls(index.name, model._meta.db_table.strip('"'), index.method)

    def is_its_table(self, name: str) -> bool:
        return fold(self.table) in (fold(name), fold(REMADE + name))

    def refuse(self, found: SchemaObject, alias: str) -> None:
        table = self.table.removeprefix(REMADE)
        bearer = f"an {found.type}" if found.type == "index" else f"a {found.type}"
        whose = "of another index" if found.is_made() else "that dorm_vector did not make"
        raise ProgrammingError(
            f"The index {self.name!r} of the table {table!r} needs the name {found.name!r}, "
            f"but the database {alias!r} has {bearer} of that name {whose}: rename one of them."
        )


class SideTableStatement(Statement):
    """
    Several statements in one, for ``sqlmigrate`` to show and the schema editor to run one by one.

    A rebuild of the table makes it for ``new__<table>`` and renames that before it runs.
    ``by_row`` has parts about a ``{row}``, which are repeated for NEW and OLD.
    """

    #: The method of the index.
    method = "vector"

    def __init__(
        self,
        index: str,
        templates: tuple[str, ...],
        by_row: dict[str, str] | None,
        /,
        **parts: Any,
    ) -> None:
        super().__init__(";\n".join(templates), **parts)
        self.index = index
        self.templates = templates
        self.by_row = by_row or {}

    @property
    def site(self) -> Site:
        return Site(self.index, self.parts["table"].table, self.method)

    @property
    def statements(self) -> list[str]:
        return [template % self._rendered() for template in self.templates]

    def __str__(self) -> str:
        return ";\n".join(self.statements)

    def _rendered(self) -> dict[str, Any]:
        parts = {name: str(part) for name, part in self.parts.items()}
        made = {}
        for name, template in self.by_row.items():
            made[name] = template.format(row="%(table)s.") % parts
            made[f"{name}_new"] = template.format(row="NEW.") % parts
            made[f"{name}_old"] = template.format(row="OLD.") % parts
        return {**parts, **made}


class Removal(SideTableStatement):
    """
    The removal of whatever exists of an index when it runs.

    ``strict`` ones raise if something else has a name of the index: an index that is not built
    leaves its names to others.
    """

    strict = True


class ConvertedColumn(str):
    """The name of a column, which a table that is rebuilt may fill from something else."""

    sql: str


class SideTableEditor(VectorAlterations):
    """The part of a schema editor that handles side tables."""

    @property
    def engine(self) -> Any:
        return engine_for(self.connection)

    def execute(self, sql: Any, params: Any = ()) -> None:
        if not isinstance(sql, SideTableStatement):
            # Django removes indexes with no parameters where it makes them with None: then a
            # percent sign in a name would be a place for one.
            params = params or None if isinstance(sql, Statement) else params
            super().execute(sql, params)
            return
        statements = sql.statements
        if not self.collect_sql:
            drops = self.engine.removal(sql.site, strict=getattr(sql, "strict", True))
            statements = drops if isinstance(sql, Removal) else [*drops, *statements]
        for statement in statements:
            super().execute(statement, None)

    def create_model(self, model: Any) -> None:
        self._check_names(model, model._meta.indexes)
        super().create_model(model)  # type: ignore[misc]

    def _alter_field(self, model: Any, old_field: Any, new_field: Any, *args: Any) -> None:
        """To SQLite vectors of all kinds are BLOBs, which only their CHECKs tell apart."""
        if not differ(old_field, new_field):
            super()._alter_field(model, old_field, new_field, *args)  # type: ignore[misc]
            return
        source = copy.copy(old_field)
        source.column = ConvertedColumn(old_field.column)
        quoted = self.quote_name(old_field.column)
        source.column.sql = self.conversion(quoted) if self.conversion else quoted
        self._remake_table(model, alter_fields=[(source, new_field)])

    def quote_name(self, name: str) -> str:
        if isinstance(name, ConvertedColumn):
            return name.sql
        quoted: str = super().quote_name(name)  # type: ignore[misc]
        return quoted

    def _remake_table(self, model: Any, *args: Any, **kwargs: Any) -> None:
        altered = kwargs.get("alter_fields") or ()
        kept = self.engine.kept_freshness(model, altered, self)
        self.remakes = True
        try:
            with self.renaming(altered):
                super()._remake_table(model, *args, **kwargs)  # type: ignore[misc]
        finally:
            self.remakes = False
        for name, statement in kept.items():
            if not self.engine.triggers(name):
                self.execute(statement, None)

    def rename_index(self, model: Any, old_index: Any, new_index: Any) -> None:
        self._check_names(model, [new_index])
        super().rename_index(model, old_index, new_index)

    def delete_model(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Triggers go with their table, side tables do not."""
        removals = [
            index.remove_sql(model, self)
            for index in model._meta.indexes
            if getattr(index, "portable", False)
        ]
        self._check_names(model, model._meta.indexes)
        for removal in removals:
            self.execute(removal)
        super().delete_model(model, *args, **kwargs)

    def _check_names(self, model: Any, indexes: Any) -> None:
        """Refuse an index before the first statement is sent, for what would refuse it later."""
        for index in indexes:
            if getattr(index, "portable", False) and not self.collect_sql:
                self.engine.check_names(index, model)


@functools.cache
def with_side_tables(base: type) -> Callable[..., Any]:
    """The schema editor class ``base`` with side tables: one class for each."""
    if issubclass(base, SideTableEditor):
        return base
    for known in SideTableEditor.__subclasses__():
        if known.__bases__[1:] == (base,):
            return known
    return type(base.__name__, (SideTableEditor, base), {})


def require_side_tables(schema_editor: Any) -> None:
    """Raise ImproperlyConfigured for a schema editor that would not run the statements."""
    if not isinstance(schema_editor, SideTableEditor):
        raise ImproperlyConfigured(
            f"The schema editor {type(schema_editor).__name__} does not know vector indexes: add "
            "'dorm_vector' to INSTALLED_APPS, or open the connection before its schema editor."
        )
