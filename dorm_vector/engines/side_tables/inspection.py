"""The state of vectors and indexes in a database whose indexes are side tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import Count, Model
from django.db.models.expressions import RawSQL

from dorm_vector.engines.base.inspection import EngineInspection, IndexState
from dorm_vector.engines.side_tables.schema import Site, fold

__all__ = ["SideTableInspection"]


class SideTableInspection(EngineInspection):
    """The part of an engine with side tables that inspects vectors and indexes."""

    #: The database's name for such an index.
    index_label: ClassVar[str] = ""
    #: The bytes of a side table: a query, with places for its tables by ``{ending}``.
    side_size: ClassVar[str] = ""
    #: The condition that a row's vector is in the side table ``{index}``.
    is_held: ClassVar[str] = ""

    index_methods: ClassVar[frozenset[str]]
    storable: ClassVar[dict[str, str]]
    _is_present: Callable[[str], bool]
    _found: Callable[..., dict[str, Any]]

    def index_states(self, model: type[Model]) -> list[IndexState]:
        self.connection.ensure_connection()
        return [
            *super().index_states(model),
            *(
                self._state(index, model)
                for index in model._meta.indexes
                if hasattr(index, "metric") and not self.why_not_built(index, model)
            ),
        ]

    def _state(self, index: Any, model: type[Model]) -> IndexState:
        found = IndexState(index.name, self.index_label)
        cure = self.command(f"vector_reindex {model._meta.label}")
        if self._is_present(index.name):
            return found._replace(size=self._size(index.name))
        if not self._found(Site.of(index, model), strict=False):
            return self.absent(index, model, self.index_label)
        return found._replace(
            state="damaged",
            problem=(
                f"{index.name} is only partly there: it serves no search, and all rows are read."
            ),
            cure=cure,
        )

    def _size(self, table: str) -> int:
        quote = self.connection.ops.quote_name
        names = {name: quote(f"{table}_{name}") for name in ("vector_chunks00", "graph_shadow")}
        sql = self.side_size.format(index=quote(table), **names)
        size: int = self.connection.connection.execute(sql).fetchone()[0]
        return size

    def names_there(self, model: Any) -> set[str]:
        self.connection.ensure_connection()
        rows = self.connection.connection.execute("SELECT name FROM sqlite_master").fetchall()
        return {fold(name) for (name,) in rows}

    def lacking(self, index: Any, model: Any) -> int | None:
        if self.why_not_built(index, model):
            return None
        rows = model._base_manager.using(self.connection.alias).order_by()
        quote = self.connection.ops.quote_name
        table = quote(model._meta.db_table)
        parts = {
            "column": quote(model._meta.get_field(index.fields[0]).column),
            "pk": f"{table}.{quote(model._meta.pk.column)}",
            "index": quote(index.name),
        }
        wanted = self.storable[index.metric].format(row=f"{table}.") % parts
        if not self._is_present(index.name):
            held = "0"
        else:
            held = self.is_held.format(**{**parts, "column": f"{table}.{parts['column']}"})
        missing = f"CASE WHEN {wanted} AND NOT ({held}) THEN 1 END".replace("%", "%%")
        found = rows.aggregate(missing=Count(RawSQL(missing, ())))  # noqa: S611 - quoted
        return int(found["missing"])
