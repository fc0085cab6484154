"""A table of texts in a database of its own, and what there is of its text indexes."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from django.db import migrations

from dorm_vector import TextIndex, models
from tests.support.schema import Schema

__all__ = ["TextTable", "has_words", "text_index", "tokens"]


def text_index(**kwargs: Any) -> TextIndex:
    given = {"fields": ["title", "body"], "name": "i", "language": "simple"}
    return TextIndex(**{**given, **kwargs})


def tokens(text: str | None) -> list[str]:
    """The words of a text, without accents and capital letters."""
    plain = unicodedata.normalize("NFD", text or "")
    folded = "".join(each for each in plain if unicodedata.category(each) != "Mn").lower()
    return re.findall(r"[^\W_]+", folded)


def has_words(words: str, *texts: str | None) -> bool:
    """Whether all of some words are in texts."""
    found = {token for text in texts for token in tokens(text)}
    return set(tokens(words)) <= found


class TextTable(Schema):
    """The table of a model in a database of its own, and the tables of its text indexes."""

    def __init__(self, key: Any = None) -> None:
        super().__init__("scratch")
        self.run(migrations.AddField("thing", "name", models.CharField(max_length=9, null=True)))
        self.run(migrations.AddField("thing", "title", models.CharField(max_length=50, default="")))
        self.run(migrations.AddField("thing", "body", models.TextField(null=True)))
        if key is not None:
            self.run(migrations.AlterField("thing", "id", key))

    @property
    def model(self) -> Any:
        (key,) = self.state.models
        return self.state.apps.get_model(*key)

    @property
    def rows(self) -> Any:
        return self.model.objects.using("scratch")

    def query(self, sql: str, *params: Any) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return list(cursor.fetchall()) if cursor.description else []

    def is_keyed(self) -> bool:
        return "INT" not in (self.model._meta.pk.db_type(self.connection) or "").upper()

    def stored(self, fields: list[str]) -> dict[Any, tuple[Any, ...]]:
        """What a text index has to hold, read from the table."""
        meta, quote = self.model._meta, self.connection.ops.quote_name
        known = {field.name: field for field in meta.fields}
        # Django's RenameField leaves the old name in the state of an index.
        renamed = {"title": "headline", "headline": "title"}
        columns = [(known.get(name) or known[renamed[name]]).column for name in fields]
        listed = ", ".join(map(quote, [meta.pk.column, *columns]))
        rows = self.query(f"SELECT {listed} FROM {quote(meta.db_table)}")
        return {row[0]: tuple(row[1:]) for row in rows}

    def side(self, index: Any) -> dict[Any, tuple[Any, ...]]:
        """What it holds."""
        columns = ", ".join(f"c{place}" for place in range(len(index.fields)))
        table = self.connection.ops.quote_name(index.name)
        rows = self.query(f"SELECT rowid, {columns} FROM {table}")
        # Raises where the index and the texts differ.
        self.query(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        if not self.is_keyed():
            return {row[0]: tuple(row[1:]) for row in rows}
        keys = self.connection.ops.quote_name(f"{index.name}_keys")
        numbers = dict(self.query(f"SELECT id, k0 FROM {keys}"))
        assert len(numbers) == len(rows)
        return {numbers[row[0]]: tuple(row[1:]) for row in rows}

    def assert_in_step(self) -> None:
        for declared in self.model._meta.indexes:
            assert self.side(declared) == self.stored(declared.fields)

    def objects(self) -> set[str]:
        """What there is in the schema, but for SQLite's own."""
        rows = self.query("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite%%'")
        return {f"{kind} {name}" for kind, name in rows}
