"""
FreshVector on PostgreSQL: a trigger BEFORE UPDATE, which changes the row before it is written.

Its function names columns, and nothing that a search path could hide: not the types, nor their
operators. In the condition of a trigger, columns could not be given another type.
"""

from __future__ import annotations

import re
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Table
from django.db.models import BaseConstraint, Model
from django.db.models.sql import Query

from dorm_vector.engines.base.freshness import FreshnessStatement, Written, fresh_vectors
from dorm_vector.sql import literal

__all__ = ["PostgreSQLFreshness"]

MARK = "-- dorm_vector"
# These compare rows byte by byte, including types without equality and text of any collation.
BODY = f"""
BEGIN {MARK}
    IF record_image_ne(ROW({{new}}), ROW({{old}}))
    AND record_image_eq(ROW(NEW.{{vector}}), ROW(OLD.{{vector}})) THEN
        NEW.{{vector}} := NULL;
    END IF;
    RETURN NEW;
END
"""
FUNCTION = "CREATE FUNCTION %(function)s() RETURNS trigger LANGUAGE plpgsql AS %(body)s"
REPLACE = FUNCTION.replace("CREATE", "CREATE OR REPLACE")
TRIGGER = (
    "CREATE TRIGGER %(name)s BEFORE UPDATE ON %(table)s "
    "FOR EACH ROW EXECUTE FUNCTION %(function)s()"
)
DROP_TRIGGER = "DROP TRIGGER IF EXISTS %(name)s ON %(table)s"
DROP_FUNCTION = "DROP FUNCTION IF EXISTS %(function)s()"

# The schema of a table; the triggers and functions with a name there, and whether they were made
# here and are not used elsewhere.
SCHEMA = (
    "SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid "
    "WHERE c.oid = to_regclass(%s)"
)
BEARERS = """
SELECT 'trigger', position(%(mark)s in prosrc) > 0 AND p.pronamespace = to_regnamespace(%(schema)s)
FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid
WHERE tgrelid = to_regclass(%(table)s) AND tgname = %(name)s
UNION ALL
SELECT 'function', position(%(mark)s in prosrc) > 0 AND NOT EXISTS (
    SELECT 1 FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
    WHERE tgfoid = p.oid AND tgparentid = 0 AND tgrelid <> to_regclass(%(table)s)
)
FROM pg_proc p
WHERE pronamespace = to_regnamespace(%(schema)s) AND proname = %(name)s AND pronargs = 0
"""

# The functions of a table's triggers of these names.
MADE = """
SELECT nspname, proname, prosrc FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid
JOIN pg_namespace n ON n.oid = pronamespace
WHERE tgrelid = to_regclass(%(table)s) AND tgname = ANY(%(names)s)
AND position(%(mark)s in prosrc) > 0
"""
# What stands before a column in them.
ROW = r'(\b(?:NEW|OLD)|"(?:new|old)")\.'


class PostgreSQLFreshness:
    """The part of an engine that makes the triggers of FreshVector."""

    connection: Any

    freshness_outlives_table = True

    def create_freshness(
        self,
        constraint: BaseConstraint,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
    ) -> Any:
        body = self._body(constraint, model, schema_editor)
        return self._statement((FUNCTION, TRIGGER), constraint, model, schema_editor, body=body)

    def remove_freshness(
        self,
        constraint: BaseConstraint,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
    ) -> Any:
        return self._statement((DROP_TRIGGER, DROP_FUNCTION), constraint, model, schema_editor)

    def follow_field(
        self, model: type[Model], old: Any, new: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        """Rewrite the functions: sessions cache the types of their columns."""
        names = (each.name for each in fresh_vectors(model))
        table = schema_editor.quote_name(model._meta.db_table)
        if schema_editor.collect_sql:  # by the declarations, which may know the field
            constraints = (
                each.renamed({old.name: new.name})
                for each in fresh_vectors(model)
                if not each.misfit(model)
            )
            for constraint in constraints:
                if constraint.reads(new.model, new.name):
                    body = self._body(constraint, new.model, schema_editor)
                    function = schema_editor.quote_name(constraint.name)
                    schema_editor.execute(REPLACE % {"function": function, "body": body}, None)
            return
        with self.connection.cursor() as cursor:
            cursor.execute(MADE, {"table": table, "names": list(names), "mark": MARK})
            made = cursor.fetchall()
        quote = self.connection.ops.quote_name
        before = re.compile(ROW + re.escape(quote(old.column)))
        for schema, name, source in made:
            body = before.sub(lambda found: f"{found[1]}.{quote(new.column)}", source)
            function = f"{quote(schema)}.{quote(name)}"
            schema_editor.execute(REPLACE % {"function": function, "body": literal(body)}, None)

    def _statement(
        self,
        templates: tuple[str, ...],
        constraint: BaseConstraint,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        **parts: Any,
    ) -> FreshnessStatement:
        name = schema_editor.quote_name(constraint.name)
        table = Table(model._meta.db_table, schema_editor.quote_name)
        return FreshnessStatement(
            constraint.name, templates, name=name, function=name, table=table, **parts
        )

    def _body(
        self, constraint: Any, model: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> Written:
        sources = constraint.sources_in(model)
        columns = [constraint.vector_in(model).column]
        columns += [source.column for source in sources]
        rows = {}
        for row in ("new", "old"):
            rows[row] = [
                _computed(source, row, schema_editor) if source.generated else None
                for source in sources
            ]

        def write(quoted: list[str]) -> str:
            vector, *others = quoted
            compared = {
                row: ", ".join(
                    made or f"{row.upper()}.{column}"
                    for made, column in zip(computed, others, strict=True)
                )
                for row, computed in rows.items()
            }
            return literal(BODY.format(vector=vector, **compared))

        return Written(model._meta.db_table, columns, schema_editor.quote_name, write)

    def settle_freshness(self, statement: FreshnessStatement) -> list[str]:
        """The statements, with the function in the schema of the table."""
        table = str(statement.parts["table"])
        with self.connection.cursor() as cursor:
            cursor.execute(SCHEMA, (table,))
            row = cursor.fetchone()
            if row is None:
                return statement.statements()  # the database says that there is no such table
            schema = self.connection.ops.quote_name(row[0])
            named = {"schema": schema, "table": table, "name": statement.name}
            cursor.execute(BEARERS, {**named, "mark": MARK})
            found = dict(cursor.fetchall())
        for object_type, made in found.items():
            if not made:
                statement.refuse(object_type, self.connection.alias)
        function = f"{schema}.{statement.parts['name']}"
        drops = []
        if FUNCTION in statement.templates and "trigger" not in found and "function" in found:
            drops = [DROP_FUNCTION % {"function": function}]
        return [*drops, *statement.statements(function=function)]


def _computed(field: Any, row: str, schema_editor: BaseDatabaseSchemaEditor) -> str:
    """
    What a generated column has in the ``row`` "new" or "old".

    Its own value is known only when all triggers are done.
    """
    query = Query(field.model)
    expression = field.expression.resolve_expression(query)
    expression = expression.relabeled_clone({query.get_initial_alias(): row})
    compiler = query.get_compiler(connection=schema_editor.connection)
    sql, params = compiler.compile(expression)
    return str(sql % tuple(schema_editor.quote_value(each) for each in params))
