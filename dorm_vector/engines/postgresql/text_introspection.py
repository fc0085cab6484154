"""What text indexes there are in a PostgreSQL database."""

from __future__ import annotations

import re
from typing import Any

from dorm_vector.engines.base.introspection import FoundTextIndex
from dorm_vector.engines.postgresql.text import PUNCTUATION
from dorm_vector.sql import literal

__all__ = ["TEXT_INDEXES", "text_index"]

# The expressions of indexes, and their operator classes, each once.
TEXT_INDEXES = """
SELECT i.relname, x.indpred IS NOT NULL,
ARRAY(
    SELECT pg_catalog.pg_get_indexdef(x.indexrelid, place, true)
    FROM generate_series(1, x.indnatts) AS place ORDER BY place
),
ARRAY(
    SELECT opcname::text FROM pg_catalog.pg_opclass WHERE oid = ANY(x.indclass::oid[])
)
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am am ON am.oid = i.relam
WHERE c.relname = %s AND pg_catalog.pg_table_is_visible(c.oid) AND am.amname = 'gin'
ORDER BY i.relname
"""
NAME = r'(?P<column>"(?:[^"]|"")+"|\w+)'
# The words of a column, as PostgreSQL writes what an index was made of.
WORDS = re.compile(
    r"(?:setweight\()?"
    r"to_tsvector\('(?P<language>\w+)'::regconfig, translate\("
    rf"\(?COALESCE\({NAME}, ''::[\w ]+\)\)?(?:::text)?, "
    rf"{re.escape(literal(PUNCTUATION))}::text, '{' ' * len(PUNCTUATION)}'::text\)\)"
    r"(?:, '(?P<weight>[A-D])'::\"char\"\))?"
)
COLUMN = re.compile(NAME)
PARTS = ["gin_trgm_ops"]


def text_index(
    name: str, is_partial: bool, expressions: list[str], operator_classes: list[str]
) -> FoundTextIndex | None:
    """What a TextIndex can say of an index; None where it is none."""
    gap = "is partial" if is_partial else None
    if operator_classes == PARTS:
        found = [COLUMN.fullmatch(each) for each in expressions]
        columns = [_unquoted(match["column"]) for match in found if match]
        if len(columns) < len(expressions):
            return None
        return FoundTextIndex(name, columns, {"tokenize": "trigram"}, gap)
    words = [] if len(expressions) > 1 else list(WORDS.finditer(expressions[0]))
    if not words or WORDS.sub("", expressions[0]).strip("(|) "):
        return None
    return FoundTextIndex(name, [_unquoted(each["column"]) for each in words], _options(words), gap)


def _options(words: list[re.Match[str]]) -> dict[str, Any]:
    options: dict[str, Any] = {"language": words[0]["language"]}
    weights = {_unquoted(each["column"]): each["weight"] for each in words if each["weight"]}
    # D is for columns that are not named.
    named = {column: weight for column, weight in weights.items() if weight != "D"}
    if weights:
        options["weights"] = named or weights
    return options


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
