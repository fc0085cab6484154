"""
Searching for words with SQLite's FTS5: tables of words that triggers keep in step.

Such a table has its own copy of the texts, since REPLACE removes rows without a DELETE that a
trigger would see: what a row had is deleted by its key. Its rows have the rowids of the model's; if
these have none, a second table numbers them by their keys.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from django.core.exceptions import FieldError
from django.db import NotSupportedError, OperationalError
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Columns, Table
from django.db.models import Field, Model

from dorm_vector.engines.side_tables.engine import Names, SideTableEngine
from dorm_vector.engines.side_tables.fts5_inspection import FullTextInspection
from dorm_vector.engines.side_tables.fts5_queries import found_rows
from dorm_vector.engines.side_tables.schema import SchemaObject, SideTableStatement, Site
from dorm_vector.engines.side_tables.search import COUNT
from dorm_vector.sql import SQL, literal

__all__ = ["FullTextEngine"]

TOKENIZERS = {"english": "porter unicode61 remove_diacritics 2"}
OTHERS = "unicode61 remove_diacritics 2"

# The first version of SQLite that has the tokenizer.
TRIGRAMS = (3, 34)

WATCHED = " OF %(watched)s"
ADD = "INSERT INTO %(index)s (rowid, %(columns)s) VALUES (%(pk_new)s, %(texts_new)s)"
REMOVE = "DELETE FROM %(index)s WHERE rowid = {}"
OLD, NEW = REMOVE.format("%(pk_old)s"), REMOVE.format("%(pk_new)s")
CREATE = (
    "CREATE VIRTUAL TABLE %(index)s %(mark)s USING fts5(%(columns)s, tokenize=%(tokenize)s)",
    "INSERT INTO %(index)s (rowid, %(columns)s) SELECT %(pk)s, %(texts)s FROM %(table)s",
    f"CREATE TRIGGER %(insert)s %(mark)s AFTER INSERT ON %(table)s BEGIN {NEW}; {ADD}; END",
    f"CREATE TRIGGER %(delete)s %(mark)s AFTER DELETE ON %(table)s BEGIN {OLD}; END",
    f"CREATE TRIGGER %(update)s %(mark)s AFTER UPDATE{WATCHED} ON %(table)s "
    f"WHEN %(changed)s BEGIN {OLD}; {NEW}; {ADD}; END",
)

# The same where a second table has the numbers of the rows.
NUMBER = "(SELECT id FROM %(keys)s WHERE {0})"
KEYED_REMOVE = f"DELETE FROM %(index)s WHERE rowid = {NUMBER}; DELETE FROM %(keys)s WHERE {{0}}"  # noqa: S608 - quoted
KEYED_OLD, KEYED_NEW = (KEYED_REMOVE.format(f"%(key_{row})s") for row in ("old", "new"))
KEYED_ADD = (
    "INSERT INTO %(keys)s (%(key_columns)s) VALUES (%(pk_new)s); "  # noqa: S608 - quoted
    "INSERT INTO %(index)s (rowid, %(columns)s) "
    f"VALUES ({NUMBER.format('%(key_new)s')}, %(texts_new)s)"
)
KEYED_CREATE = (
    CREATE[0],
    "CREATE TABLE %(keys)s %(mark)s "
    "(id INTEGER PRIMARY KEY, %(key_definitions)s, UNIQUE (%(key_columns)s))",
    "INSERT INTO %(keys)s (%(key_columns)s) SELECT %(pk)s FROM %(table)s",
    "INSERT INTO %(index)s (rowid, %(columns)s) SELECT %(keys)s.id, %(own_texts)s "
    "FROM %(table)s JOIN %(keys)s ON %(own_key)s",
    "CREATE TRIGGER %(insert)s %(mark)s AFTER INSERT ON %(table)s "
    f"BEGIN {KEYED_NEW}; {KEYED_ADD}; END",
    f"CREATE TRIGGER %(delete)s %(mark)s AFTER DELETE ON %(table)s BEGIN {KEYED_OLD}; END",
    f"CREATE TRIGGER %(update)s %(mark)s AFTER UPDATE{WATCHED} ON %(table)s "
    f"WHEN %(changed)s BEGIN {KEYED_OLD}; {KEYED_NEW}; {KEYED_ADD}; END",
)
DROP = (
    "DROP TRIGGER IF EXISTS %(insert)s",
    "DROP TRIGGER IF EXISTS %(delete)s",
    "DROP TRIGGER IF EXISTS %(update)s",
    "DROP TABLE IF EXISTS %(index)s",
    "DROP TABLE IF EXISTS %(keys)s",
)

NAMES = Names(
    of_table=dict.fromkeys(("insert", "delete", "update"), "trigger"),
    of_side_table={},
    signs=dict.fromkeys(("insert", "delete", "update"), 'DELETEFROM"{index}"'),
    shadows={
        "data": "(id INTEGER PRIMARY KEY, block BLOB)",
        "idx": "(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
        "content": re.compile(r"\(id INTEGER PRIMARY KEY(, c\d+)+\)$"),
        "docsize": "(id INTEGER PRIMARY KEY, sz BLOB)",
        "config": "(k PRIMARY KEY, v) WITHOUT ROWID",
    },
    tables=("keys",),
)

# Tables without which FTS5 cannot drop its own.
LOST = {**NAMES.shadows, "content": "(id INTEGER PRIMARY KEY, c0)"}
# Rows without which it cannot open: its version, and that there are no words.
ROWS = {
    "config": "INSERT INTO {} VALUES ('version', 4)",
    "data": "INSERT INTO {} VALUES (1, X''), (10, X'00000000000000')",
}


NOT_BUILT = "{}: the TextIndex {!r} is not built."


class FullTextEngine(FullTextInspection, SideTableEngine):
    """The engine of a database with text indexes of FTS5."""

    index_methods = frozenset({"vector", "text"})

    # Building

    def names_of(self, method: str) -> Names:
        return NAMES if method == "text" else super().names_of(method)

    def why_not_built(self, index: Any, model: Any) -> str | None:
        if index.method != "text":
            return super().why_not_built(index, model)
        return self._why_no_words(index) or self.why_words_not_kept()

    def _why_no_words(self, index: Any) -> str | None:
        """Why there can be no such table of words here, the first half of a sentence; or None."""
        if self.lacks_fts5():
            return f"{self.label} was built without FTS5 here"
        if index.tokenize and self.connection.Database.sqlite_version_info < TRIGRAMS:
            return f"{self.label} has trigrams from {'.'.join(map(str, TRIGRAMS))} on"
        return None

    def lacks_fts5(self) -> bool:
        """Whether there are no tables of words. Does not query the database."""
        return False

    def why_words_not_kept(self) -> str | None:
        """Why triggers cannot keep a table of words, the first half of a sentence; or None."""
        return None

    def drop_templates_of(self, index: Any) -> tuple[str, ...]:
        return DROP if index.method == "text" else super().drop_templates_of(index)

    def _building(
        self, index: Any, model: type[Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> SideTableStatement:
        if index.method != "text":
            return super()._building(index, model, schema_editor)
        templates: tuple[str, ...] = KEYED_CREATE if self.is_keyed(model) else CREATE
        fields, keys = index.text_fields(model), model._meta.pk_fields
        if any(field.generated for field in fields):  # no UPDATE names its column
            templates = tuple(template.replace(WATCHED, "") for template in templates)
        texts, pks = range(len(fields)), range(len(keys))
        rows = {
            "texts": ", ".join(f"{{row}}%(text{each})s" for each in texts),
            "own_texts": ", ".join(f"%(table)s.%(text{each})s" for each in texts),
            "pk": ", ".join(f"{{row}}%(pk{each})s" for each in pks),
            # The model's column on the left: its collation is the one that counts.
            "key": " AND ".join(f"{{row}}%(pk{each})s = k{each}" for each in pks),
            # save() writes all columns. Other letters are changes, whatever the collation.
            "changed": " OR ".join(
                f"OLD.%({name})s IS NOT NEW.%({name})s COLLATE BINARY"
                for name in (*(f"pk{each}" for each in pks), *(f"text{each}" for each in texts))
            ),
            "own_key": " AND ".join(f"%(table)s.%(pk{each})s = k{each}" for each in pks),
        }
        parts = {
            **self._names(index, schema_editor),
            **self._column_parts(fields, keys, model, schema_editor),
            "columns": ", ".join(f"c{each}" for each in texts),
            "key_columns": ", ".join(f"k{each}" for each in pks),
            "key_definitions": ", ".join(self._key_definition(keys[each], each) for each in pks),
            "tokenize": literal(index.tokenize or TOKENIZERS.get(index.language, OTHERS)),
        }
        return SideTableStatement(index.name, templates, rows, **parts)

    def _column_parts(
        self,
        fields: Sequence[Any],
        keys: Sequence[Any],
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
    ) -> dict[str, Any]:
        table, quote = model._meta.db_table, schema_editor.quote_name
        named = {f"text{place}": field for place, field in enumerate(fields)}
        named.update({f"pk{place}": field for place, field in enumerate(keys)})
        watched = list(dict.fromkeys(field.column for field in (*keys, *fields)))
        return {
            "table": Table(table, quote),
            "watched": Columns(table, watched, quote),
            **{name: Columns(table, [field.column], quote) for name, field in named.items()},
        }

    def _key_definition(self, field: Field, place: int) -> str:
        collation = field.db_parameters(self.connection).get("collation")
        ending = f" COLLATE {self.connection.ops.quote_name(collation)}" if collation else ""
        return f"k{place}{ending}"

    def is_keyed(self, model: type[Model]) -> bool:
        """Whether the keys of a model are not rowids."""
        column_type = model._meta.pk.db_type(self.connection) or ""
        return "INT" not in column_type.upper()

    def _drop(self, site: Site, found: SchemaObject, endings: set[str]) -> list[str]:
        """Restore a lost shadow table first, without which the table of words cannot be dropped."""
        drop = super()._drop(site, found, endings)
        if site.method != "text" or found.name.lower() != site.name.lower():
            return drop
        quote = self.connection.ops.quote_name
        lost = [end for end in LOST if end not in endings]
        made = [f"CREATE TABLE {quote(f'{site.name}_{end}')} {LOST[end]}" for end in lost]
        rows = [ROWS[end].format(quote(f"{site.name}_{end}")) for end in ROWS if end in lost]
        return [*made, *rows, *drop]

    # Searching

    def refuse_text(self, search: Any) -> NoReturn:
        names = ", ".join(map(repr, search.fields))
        raise FieldError(
            f"{self.label} finds words through a TextIndex, and {search.model._meta.label} "
            f"declares none for {names or 'its fields'} (database {self.connection.alias!r}): add "
            f"TextIndex(fields={list(search.fields)!r}, name=...) to its Meta.indexes, and migrate."
        )

    def check_text(self, search: Any) -> None:
        index = search.index
        if index is None or self._why_no_words(index):
            return
        if not self.has_words(index, search.model):
            if reason := self.why_not_built(index, search.model):
                raise NotSupportedError(NOT_BUILT.format(reason, index.name))
            raise OperationalError(
                f"The TextIndex {index.name!r} of {search.model._meta.label} is declared, but "
                f"missing or incomplete (database {self.connection.alias!r}): migrate, or run "
                "manage.py vector_reindex."
            )

    def has_words(self, index: Any, model: Any) -> bool:
        """Whether all that there has to be of a text index is there."""
        endings = [*NAMES.of_table, *NAMES.shadows]
        endings += NAMES.tables if self.is_keyed(model) else ()
        names = (index.name, *(f"{index.name}_{ending}" for ending in endings))
        self.connection.ensure_connection()
        sql = COUNT.format(places=", ".join("?" * len(names)))
        return bool(self.connection.connection.execute(sql, names).fetchone()[0] == len(names))

    def text_join(self, search: Any) -> SQL:
        index = search.index
        if index is None:
            self.refuse_text(search)
        if reason := self._why_no_words(index):
            raise NotSupportedError(NOT_BUILT.format(reason, index.name))
        quote = self.connection.ops.quote_name
        # What is compiled is formatted with %, once.
        table, keys = (
            quote(name).replace("%", "%%") for name in (index.name, f"{index.name}_keys")
        )
        found = found_rows(search, table)
        if not self.is_keyed(search.model):
            return SQL(f"SELECT i AS dorm_key0, r AS dorm_rank FROM ({found.sql})", found.params)  # noqa: S608 - quoted
        places = range(len(search.model._meta.pk_fields))
        columns = ", ".join(f"k{each} AS dorm_key{each}" for each in places)
        source = f"({found.sql}) JOIN {keys} ON id = i"
        return SQL(f"SELECT {columns}, r AS dorm_rank FROM {source}", found.params)  # noqa: S608 - quoted

    def text_condition(self, compiler: Any, text: Any) -> SQL:
        sql, params = compiler.compile(text.key)
        return SQL(f"{sql} IS NOT NULL", tuple(params))

    def text_rank(self, compiler: Any, text: Any) -> SQL:
        return SQL(*compiler.compile(text.rank))
