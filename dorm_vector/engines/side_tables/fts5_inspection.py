"""How the tables of words of a database are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dorm_vector.engines.base.inspection import EngineInspection, IndexState, text_indexes
from dorm_vector.engines.side_tables.schema import Site

__all__ = ["FullTextInspection"]

METHOD = "FTS5"
# The words, the texts, and how long each of them is, in bytes.
SIZE = (
    "SELECT (SELECT COALESCE(sum(length(block)), 0) FROM {data}) "
    "+ (SELECT COALESCE(sum({texts}), 0) FROM {content}) "
    "+ (SELECT COALESCE(sum(length(sz)), 0) FROM {docsize})"
)
# Texts are compared as they stand, whatever the collation of a column.
LACKS = "SELECT count(*) FROM {table} AS t WHERE NOT EXISTS (SELECT 1 FROM {source} WHERE {same})"


class FullTextInspection(EngineInspection):
    """The part of an engine with tables of words that looks after what there is."""

    is_keyed: Callable[[Any], bool]
    has_words: Callable[[Any, Any], bool]
    _found: Callable[..., dict[str, Any]]

    def text_index_states(self, model: Any) -> list[IndexState]:
        not_built = super().text_index_states(model)
        names = {state.name for state in not_built}
        built = (index for index in text_indexes(model) if index.name not in names)
        return [*not_built, *(self._words_state(index, model) for index in built)]

    def _words_state(self, index: Any, model: Any) -> IndexState:
        if self.has_words(index, model):
            return IndexState(index.name, METHOD, size=self._words_size(index))
        if not self._found(Site.of(index, model), strict=False):
            return self.absent(index, model, METHOD)
        return IndexState(
            index.name,
            METHOD,
            "damaged",
            problem=f"{index.name} is only partly there: searches through it raise an error.",
            cure=self.command(f"vector_reindex {model._meta.label}"),
        )

    def _words_size(self, index: Any) -> int:
        texts = " + ".join(
            f"COALESCE(length(CAST(c{place} AS BLOB)), 0)" for place in range(len(index.fields))
        )
        return self._number(SIZE.format(texts=texts, **self._tables(index)))

    def lacking_words(self, index: Any, model: Any) -> int | None:
        if self.why_no_text_index(index, model):
            return None
        if not self.has_words(index, model):
            return int(model._base_manager.using(self.connection.alias).count())
        quote, tables = self.connection.ops.quote_name, self._tables(index)
        keys = [f"t.{quote(field.column)}" for field in model._meta.pk_fields]
        source, same = f"{tables['content']} AS w", [f"w.id = {keys[0]}"]
        if self.is_keyed(model):
            source += f" JOIN {tables['keys']} AS k ON k.id = w.id"
            same = [f"{key} = k.k{place}" for place, key in enumerate(keys)]
        same += [
            f"w.c{place} IS t.{quote(field.column)} COLLATE BINARY"
            for place, field in enumerate(index.text_fields(model))
        ]
        table = quote(model._meta.db_table)
        return self._number(LACKS.format(table=table, source=source, same=" AND ".join(same)))

    def _tables(self, index: Any) -> dict[str, str]:
        quote = self.connection.ops.quote_name
        endings = ("data", "content", "docsize", "keys")
        return {ending: quote(f"{index.name}_{ending}") for ending in endings}

    def _number(self, sql: str) -> int:
        self.connection.ensure_connection()
        return int(self.connection.connection.execute(sql).fetchone()[0])
