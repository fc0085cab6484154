"""
An index that is a table beside the table of a model, kept in step with it by triggers.

SQLite and libSQL serve no ``ORDER BY distance`` from an index: theirs are asked for rows. The side
table bears the name of the index. It is never renamed, since that would break it for good; it is
dropped and filled again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db import models
from django.db.backends.ddl_references import Columns, Statement, Table
from django.db.models.expressions import RawSQL

from dorm_vector.engines.base import Engine
from dorm_vector.sql import SQL

__all__ = ["SideTableEngine", "SideTableStatement", "editor_class"]

# What an UPDATE trigger is fired by.
WATCHED = " OF %(pk)s, %(column)s"


class SideTableStatement(Statement):
    """
    Several statements in one, for ``sqlmigrate`` to show and the schema editor to run one by one.

    A rebuild of the table makes it for ``new__<table>`` and renames that before it runs.
    ``by_row`` has parts that are about a ``{row}``, and are there once more for the NEW one.
    """

    def __init__(
        self, templates: tuple[str, ...], by_row: dict[str, str] | None = None, **parts: Any
    ) -> None:
        super().__init__(";\n".join(templates), **parts)
        self.templates = templates
        self.by_row = by_row or {}

    @property
    def statements(self) -> list[str]:
        return [template % self._rendered() for template in self.templates]

    def __str__(self) -> str:
        return ";\n".join(self.statements)

    def _rendered(self) -> dict[str, Any]:
        parts = {name: str(part) for name, part in self.parts.items()}
        made = {}
        for name, template in self.by_row.items():
            made[name] = template.format(row="") % parts
            made[f"{name}_new"] = template.format(row="NEW.") % parts
        return {**parts, **made}


class SideTableEngine(Engine):
    """The engine of a database whose indexes are side tables."""

    index_methods = frozenset({"vector"})

    #: The statements that build a side table and its triggers, and those that remove them.
    create_templates: ClassVar[tuple[str, ...]] = ()
    drop_templates: ClassVar[tuple[str, ...]] = ()
    #: What else bears the name of the index, with these endings.
    suffixes: ClassVar[tuple[str, ...]] = ()
    #: By metric, the condition that the index can hold, and compare, the vector of ``{row}``.
    storable: ClassVar[dict[str, str]] = {}
    #: The library that an index is made by, for sentences.
    maker: ClassVar[str] = ""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        connection.SchemaEditorClass = editor_class(connection.SchemaEditorClass)

    # Building

    def create_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        if self.why_not_built(index, model):
            return self._nothing_built(index, model)
        # An editor that was made before the connection was opened is not one of these yet.
        schema_editor.__class__ = editor_class(type(schema_editor))
        templates = self.templates(index)
        if model._meta.get_field(index.fields[0]).generated:  # no UPDATE names its column
            templates = tuple(template.replace(WATCHED, "") for template in templates)
        parts = self._parts(index, model, schema_editor)
        rows = {"storable": self.storable[index.metric], "value": self.stored_value(index)}
        return SideTableStatement(templates, rows, **parts)

    def templates(self, index: Any) -> tuple[str, ...]:
        """The statements that build the side table of an index."""
        return self.create_templates

    def stored_value(self, index: Any) -> str:
        """What the side table has of the vector of ``{row}``."""
        return "{row}%(column)s"

    def remove_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        if index.method not in self.index_methods:
            return self._nothing_built(index, model)
        schema_editor.__class__ = editor_class(type(schema_editor))
        names: dict[str, Any] = self._names(index, schema_editor)
        return SideTableStatement(self.drop_templates, **names)

    def why_not_built(self, index: Any, model: Any) -> str | None:
        if reason := super().why_not_built(index, model):
            return reason
        field = index.vector_field(model)
        most = self.index_dimensions.get(field.kind)
        if most is None:
            return f"{self.maker} has no index of {field.kind} vectors"
        if index.metric not in self.storable:
            return f"{self.maker} has no index for the metric {index.metric!r}"
        if field.dimensions > most:
            return f"{self.maker} indexes {most} dimensions at most"
        if index.condition is not None:
            return f"{self.maker} has no partial index"
        return None

    def _names(self, index: Any, schema_editor: Any) -> dict[str, str]:
        quote = schema_editor.quote_name
        others = {suffix: quote(f"{index.name}_{suffix}") for suffix in self.suffixes}
        return {"index": quote(index.name), **others}

    def _parts(self, index: Any, model: Any, schema_editor: Any) -> dict[str, Any]:
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

    # Searching

    def candidates(self, index: Any, query: Any) -> SQL:
        """The condition that a row is one of those that the index finds."""
        raise NotImplementedError

    def can_find(self, index: Any, query: Any) -> bool:
        """Whether the index finds as many rows as the query asks for."""
        raise NotImplementedError

    def plan_search(self, query: Any, nested: bool) -> Any:
        """Have the side table name the candidates, where it can."""
        index = self.serving_index(query)
        if index is None:
            return query
        whole = query if nested else query.without_max_distance()
        plan = whole.clone()
        plan.whole = whole
        self.adjust(plan, index, nested)
        condition = RawSQL(*self.candidates(index, plan), models.BooleanField())  # noqa: S611
        plan.where.add(condition, "AND")
        return plan

    def adjust(self, plan: Any, index: Any, nested: bool) -> None:
        """Change what a planned query asks for, before its candidates are looked for."""

    def run_search(self, compiler: Any, execute: Callable[[], Any]) -> Any:
        """Run a search, and read the whole table where the index cannot tell the last rows."""
        plan, whole = compiler.query, compiler.query.whole
        if whole is None or plan.explain_info:
            return execute()
        wanted = whole.high_mark - whole.low_mark
        rows = [row for chunk in execute() for row in chunk]
        # Too few may be all that there are, or all that the index knows of.
        if len(rows) < wanted or self.is_undecided(compiler, rows, wanted):
            compiler.query = whole
            rows = [row for chunk in execute() for row in chunk]
        return [self.in_order(compiler, [rows[:wanted]])]

    def is_undecided(self, compiler: Any, rows: list[Any], wanted: int) -> bool:
        """Whether the index may have chosen the last rows among others that are as near."""
        return False

    def serving_index(self, query: Any) -> Any:
        """The index that serves a search, or None."""
        if query.search.exact or query.is_filtered or query.query_vector is None:
            return None
        self.connection.ensure_connection()  # which tells what is loaded, and what is there
        model = query.get_meta().concrete_model
        return next(
            (
                index
                for index in query.search.indexes
                if not self.why_not_built(index, model)
                and self.can_find(index, query)
                and self.is_ready(index.name)
            ),
            None,
        )

    def why_unused(self, queryset: Any) -> str:
        query = queryset.query
        search = getattr(query, "search", None)
        if search is None:
            return f"{self.label} serves no ORDER BY from an index: use nearest()."
        if search.exact:
            return "exact=True was asked for."
        if query.is_filtered:
            return "A filter, a join or distinct() makes the search exact."
        if not any(self.can_find(index, query) for index in search.indexes):
            return self.too_many
        if not any(self._is_present(index.name) for index in search.indexes):
            return "The index is declared, and its table is not there: migrate."
        return self.too_few

    #: Why ``can_find`` said no.
    too_many: ClassVar[str] = ""
    #: Why ``is_ready`` said no, although the table is there.
    too_few: ClassVar[str] = ""

    def is_ready(self, table: str) -> bool:
        """Whether the side table is there, and better than reading all rows."""
        return self._is_present(table)

    def _is_present(self, table: str) -> bool:
        """Whether the table is there: the index may be declared, and not migrated yet."""
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.connection.connection.execute(sql, (table,)).fetchone() is not None


class SideTableEditor:
    """The part of a schema editor that knows side tables."""

    connection: Any

    def execute(self, sql: Any, params: Any = ()) -> None:
        # Django removes indexes with no parameters where it makes them with None: then a percent
        # sign in a name would be a place for one.
        params = params or None if isinstance(sql, Statement) else params
        for statement in getattr(sql, "statements", [sql]):
            super().execute(statement, params)  # type: ignore[misc]

    def delete_model(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Triggers go with their table, side tables do not."""
        for index in model._meta.indexes:
            if getattr(index, "portable", False):
                self.execute(f"DROP TABLE IF EXISTS {self.quote_name(index.name)}")  # type: ignore[attr-defined]
        super().delete_model(model, *args, **kwargs)  # type: ignore[misc]


def editor_class(base: Any) -> Any:
    """A schema editor class, with side tables."""
    if issubclass(base, SideTableEditor):
        return base
    return _EDITOR_CLASSES.setdefault(base, type(base.__name__, (SideTableEditor, base), {}))


# One for each base, so that instances of the same kind are of the same class.
_EDITOR_CLASSES: dict[type, type] = {}
