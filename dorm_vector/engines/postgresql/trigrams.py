"""Searching for parts of words in PostgreSQL, by ILIKE, which an index of pg_trgm serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.backends.ddl_references import Columns

from dorm_vector.engines.base.text import PartConditions
from dorm_vector.sql import SQL, joined, literal

__all__ = ["PartColumns", "Parts", "has_trigrams"]

INSTALLED = "SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'"
ESCAPED = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
# How often a part occurs in a column, and at most how much that counts.
COUNT = (
    "((LENGTH({column}) - LENGTH(REPLACE(LOWER({column}), LOWER(%s::text), ''))) "
    "/ LENGTH(%s::text)::float8)"
)


def has_trigrams(connection: Any) -> bool:
    """Whether pg_trgm is installed. Asks the database."""
    with connection.cursor() as cursor:
        cursor.execute(INSTALLED)
        return cursor.fetchone() is not None


class PartColumns(Columns):
    """The columns of an index of parts of words, each with its operator class."""

    def __str__(self) -> str:
        return ", ".join(f"{self.quote_name(column)} gin_trgm_ops" for column in self.columns)


class Parts(PartConditions):
    """Conditions on parts of the words of columns."""

    def __init__(self, search: Any, columns: dict[str, str]) -> None:
        self.search = search
        self.columns = {name: columns[name] for name in search.fields}

    def has(self, unit: Any) -> SQL:
        pattern = f"%{unit[0].translate(ESCAPED)}%"
        return joined("OR", [SQL(f"{sql} ILIKE %s", (pattern,)) for sql in self.columns.values()])

    def has_not(self, unit: Any) -> SQL:
        sql, params = self.has(unit)
        return SQL(f"NOT COALESCE({sql}, FALSE)", params)

    def rank(self) -> SQL:
        """More of what is wanted counts more than one of it many times."""
        return joined("+", [self.count(*each) for each in self.counted()])

    def counted(self) -> Iterable[tuple[str, str]]:
        return ((name, unit[0]) for unit in self.search.query.wanted for name in self.columns)

    def count(self, name: str, part: str) -> SQL:
        counted = COUNT.format(column=f"COALESCE({self.columns[name]}, '')")
        weight = literal(self.search.number(name))
        sql = f"{weight} * (SIGN({counted}) + {counted} / (1 + {counted}))"
        return SQL(sql, (part,) * 6)
