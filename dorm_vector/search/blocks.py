"""How the statement for a block of rows is written, and for a slice of one."""

from __future__ import annotations

from typing import Any

from django.db.models import Field
from django.db.models.expressions import RawSQL

from dorm_vector.engines.base.rows import driver_column
from dorm_vector.sql import Plan

__all__ = ["BlockCompiler"]


class BlockCompiler:
    """The part of a compiler that writes what the plan of a search asks for."""

    query: Any
    connection: Any
    compile: Any
    #: The places by which the first rows of a block are sorted: of the distance and of the key,
    #: which is None where the database has done so.
    sorted_by: tuple[int, int | None] = (0, None)
    #: Those that the statement names.
    ordered_by: tuple[int, ...] = ()
    #: How many columns are sent behind those that were asked for.
    unasked: int = 0

    def get_select(self, *args: Any, **kwargs: Any) -> Any:
        """What is selected, and behind it the distance by which an index has chosen the rows."""
        select, klass_info, annotations = super().get_select(*args, **kwargs)  # type: ignore[misc]
        plan = getattr(self.query, "plan", None)
        if plan is not None and plan.coarse is not None:
            sql, params = plan.coarse
            coarse = RawSQL(sql, params, Field())  # noqa: S611 - quoted
            select = [*select, (coarse, (sql, params), None)]
        if plan is not None and plan.first is not None:
            select = self._with_order(select, annotations, plan)
        return select, klass_info, annotations

    def _with_order(self, select: list[Any], annotations: dict[str, int], plan: Plan) -> list[Any]:
        """What is selected, and behind it the distance and the key unless they are."""
        query, sent = self.query, list(select)
        name, key = plan.search.annotation, query.get_meta().pk
        distance = annotations.get(name)
        if distance is None:
            distance = len(sent)
            sent.append(self._raw(query.annotations[name], name))
        column = key.get_col(query.get_initial_alias())
        columns = [expression for expression, _, _ in select]
        place = columns.index(column) if column in columns else len(sent)
        if place == len(sent):
            sent.append(self._raw(column, None))
        self.ordered_by = (distance, place)[: 1 + plan.by_key]
        self.sorted_by = distance, None if plan.by_key else place
        self.unasked = len(sent) - len(select)
        return sent

    def _raw(self, expression: Any, alias: str | None) -> Any:
        """A part of the select clause that is read as the driver returns it."""
        sql, params = self.compile(expression)
        return RawSQL(sql, params, Field()), (sql, params), alias  # noqa: S611 - compiled

    def _sliced(self, sql: str, plan: Plan | None) -> str:
        """The statement that sends a slice of another's rows, and counts them all."""
        if plan is None or (plan.sent is None and plan.first is None):
            return sql
        low, high = plan.sent or plan.first or (0, 0)
        rows = self.connection.ops.quote_name("nearest")
        part = f"LIMIT {high - low:d} OFFSET {low:d}"
        if plan.first is not None:
            order = ", ".join(f"{place + 1:d}" for place in self.ordered_by)
            return f"SELECT * FROM ({sql}) AS {rows} ORDER BY {order} {part}"  # noqa: S608 - compiled
        place = driver_column(self, plan.search.annotation)
        order = "" if place is None else f"ORDER BY {place + 1} "
        return f"SELECT *, COUNT(*) OVER () FROM ({sql}) AS {rows} {order}{part}"  # noqa: S608 - compiled
