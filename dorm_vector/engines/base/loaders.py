"""How the rows of ``bulk_copy()`` get to the database."""

from __future__ import annotations

import itertools
from typing import Any

__all__ = ["Inserts", "Loader"]

# How many rows are passed to the driver at a time, and how many at most are those of one statement:
# to run one costs a driver more than to read a short row of it.
ROWS = 1000
AT_ONCE = 50


class Loader:
    """
    Loads rows into a table: those of one ``dorm_vector.bulk.Load`` with values of ``fields``.

    Rows are added one by one, and sent when there are enough of them.
    """

    def __init__(self, load: Any, fields: tuple[Any, ...]) -> None:
        self.load = load
        self.fields = fields
        self.connection = load.connection

    def add(self, row: list[Any]) -> bool:
        """Add a row; return whether to ``send()``. Raises what a field raises."""
        raise NotImplementedError

    def send(self) -> None:
        """Send the rows that were added."""
        raise NotImplementedError

    def finish(self) -> None:
        """Send what is left, after the last row."""
        self.send()

    # SQL

    def columns(self) -> str:
        return ", ".join(self.connection.ops.quote_name(field.column) for field in self.fields)

    def insert_sql(self) -> str:
        """The statement up to what is inserted."""
        ops, load = self.connection.ops, self.load
        statement = ops.insert_statement(on_conflict=load.on_conflict)
        return f"{statement} {ops.quote_name(load.model._meta.db_table)} ({self.columns()})"

    def conflict_sql(self) -> str:
        """The end of the statement."""
        load = self.load
        suffix = self.connection.ops.on_conflict_suffix_sql(
            load.model._meta.concrete_fields,
            load.on_conflict,
            [field.column for field in load.update],
            [field.column for field in load.unique],
        )
        return str(suffix)


class Inserts(Loader):
    """Loads by the driver's executemany(), several rows a statement."""

    def __init__(self, load: Any, fields: tuple[Any, ...]) -> None:
        super().__init__(load, fields)
        self._writers = [load.engine.writer(field) for field in fields]
        self._rows: list[list[Any]] = []
        self._places = [
            field.get_placeholder(None, None, self.connection)
            if hasattr(field, "get_placeholder")
            else "%s"
            for field in fields
        ]
        features, ops = self.connection.features, self.connection.ops
        most = ops.bulk_batch_size(fields, range(AT_ONCE)) if features.has_bulk_insert else 1
        self._at_once = max(1, min(AT_ONCE, most))

    def add(self, row: list[Any]) -> bool:
        pairs = zip(self._writers, row, strict=True)
        self._rows.append([write(value) for write, value in pairs])
        return len(self._rows) == ROWS

    def send(self) -> None:
        rows, self._rows = self._rows, []
        size = self._at_once
        rest = len(rows) // size * size
        groups = (rows[start : start + size] for start in range(0, rest, size))
        self._insert(size, [list(itertools.chain(*group)) for group in groups])
        self._insert(1, rows[rest:])

    def _insert(self, size: int, groups: list[list[Any]]) -> None:
        """Run a statement for ``size`` rows with the values of each of the groups."""
        if not groups:
            return
        values = self.connection.ops.bulk_insert_sql(self.fields, [self._places] * size)
        sql = f"{self.insert_sql()} {values} {self.conflict_sql()}".rstrip()
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, groups)
