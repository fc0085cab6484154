"""
A ``vec0`` table beside the table of a model, kept in step with it by triggers.

SQLite serves no ``ORDER BY distance`` from an index: sqlite-vec's indexes are tables of their own,
which a search asks for row numbers. The side table bears the name of the index. It is never
renamed, since sqlite-vec would report success and be broken for good; it is dropped and filled
again.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.ddl_references import Columns, Statement, Table

__all__ = ["MAX_DIMENSIONS", "MAX_K", "METRICS", "SideTableStatement", "editor_class"]

# Limits of vec0; source: https://github.com/asg017/sqlite-vec, sqlite-vec.c.
MAX_K = 4096
MAX_DIMENSIONS = 8192
METRICS = {"l2": "l2", "cosine": "cosine", "l1": "l1"}

# The condition that vec0 can hold {row}'s vector, and compare it.
STORABLE = {
    "l2": "{row}%(column)s IS NOT NULL",
    "l1": "{row}%(column)s IS NOT NULL",
    "cosine": (
        "CASE WHEN {row}%(column)s IS NOT NULL "
        "THEN vec_distance_cosine({row}%(column)s, {row}%(column)s) END IS NOT NULL"
    ),
}

DROP = (
    "DROP TRIGGER IF EXISTS %(insert)s",
    "DROP TRIGGER IF EXISTS %(delete)s",
    "DROP TRIGGER IF EXISTS %(update)s",
    "DROP TABLE IF EXISTS %(index)s",
)
WATCHED = " OF %(pk)s, %(column)s"
CREATE = (
    *DROP,
    "CREATE VIRTUAL TABLE %(index)s USING vec0(vector float[%(dimensions)s] "
    "distance_metric=%(metric)s)",
    "INSERT INTO %(index)s (rowid, vector) "
    "SELECT %(pk)s, %(column)s FROM %(table)s WHERE %(storable)s",
    # OR REPLACE takes rows away without a DELETE that a trigger would see.
    "CREATE TRIGGER %(insert)s AFTER INSERT ON %(table)s BEGIN "
    "DELETE FROM %(index)s WHERE rowid = NEW.%(pk)s; "
    "INSERT INTO %(index)s (rowid, vector) "
    "SELECT NEW.%(pk)s, NEW.%(column)s WHERE %(storable_new)s; END",
    "CREATE TRIGGER %(delete)s AFTER DELETE ON %(table)s BEGIN "
    "DELETE FROM %(index)s WHERE rowid = OLD.%(pk)s; END",
    "CREATE TRIGGER %(update)s AFTER UPDATE OF %(pk)s, %(column)s ON %(table)s BEGIN "
    "DELETE FROM %(index)s WHERE rowid = OLD.%(pk)s; "
    "DELETE FROM %(index)s WHERE rowid = NEW.%(pk)s; "
    "INSERT INTO %(index)s (rowid, vector) "
    "SELECT NEW.%(pk)s, NEW.%(column)s WHERE %(storable_new)s; END",
)


class SideTableStatement(Statement):
    """
    Several statements in one, for ``sqlmigrate`` to show and the schema editor to run one by one.

    A rebuild of the table makes it for ``new__<table>`` and renames that before it runs.
    """

    def __init__(self, templates: tuple[str, ...], **parts: Any) -> None:
        super().__init__(";\n".join(templates), **parts)
        self.templates = templates

    @property
    def statements(self) -> list[str]:
        return [template % self._rendered() for template in self.templates]

    def __str__(self) -> str:
        return ";\n".join(self.statements)

    def _rendered(self) -> dict[str, Any]:
        parts = {name: str(part) for name, part in self.parts.items()}
        if "metric" in parts:
            for name, row in (("storable", ""), ("storable_new", "NEW.")):
                parts[name] = STORABLE[parts["metric"]].format(row=row) % parts
        return parts


def create(index: Any, model: Any, schema_editor: Any) -> SideTableStatement:
    """The statements that build the side table and fill it from the rows that are there."""
    templates: tuple[str, ...] = CREATE
    if model._meta.get_field(index.fields[0]).generated:  # no UPDATE names its column
        templates = tuple(template.replace(WATCHED, "") for template in CREATE)
    return SideTableStatement(templates, **_parts(index, model, schema_editor))


def drop(index: Any, schema_editor: Any) -> SideTableStatement:
    """The statements that remove it, whether it is there or not."""
    return SideTableStatement(DROP, **_names(index, schema_editor))


def _names(index: Any, schema_editor: Any) -> dict[str, Any]:
    quote = schema_editor.quote_name
    events = {event: quote(f"{index.name}_{event}") for event in ("insert", "delete", "update")}
    return {"index": quote(index.name), **events}


def _parts(index: Any, model: Any, schema_editor: Any) -> dict[str, Any]:
    quote = schema_editor.quote_name
    table = model._meta.db_table
    return {
        "table": Table(table, quote),
        "pk": Columns(table, [model._meta.pk.column], quote),
        "column": Columns(table, [model._meta.get_field(index.fields[0]).column], quote),
        "dimensions": index.vector_field(model).dimensions,
        "metric": METRICS[index.metric],
        **_names(index, schema_editor),
    }


class SideTableEditor:
    """The part of a schema editor that knows side tables."""

    def execute(self, sql: Any, params: Any = ()) -> None:
        for statement in getattr(sql, "statements", [sql]):
            super().execute(statement, params)  # type: ignore[misc]

    def delete_model(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Triggers go with their table, side tables do not."""
        for index in model._meta.indexes:
            if getattr(index, "portable", False) and index.metric in METRICS:
                self.execute(f"DROP TABLE IF EXISTS {self.quote_name(index.name)}")  # type: ignore[attr-defined]
        super().delete_model(model, *args, **kwargs)  # type: ignore[misc]


def editor_class(base: Any) -> Any:
    """A schema editor class, with side tables."""
    if issubclass(base, SideTableEditor):
        return base
    return _EDITOR_CLASSES.setdefault(base, type(base.__name__, (SideTableEditor, base), {}))


_EDITOR_CLASSES: dict[Any, Any] = {}
