"""
Citus, YugabyteDB and CockroachDB, none of which runs here: the statements that they would be sent.

For Citus the catalog says that the extension is there; PostgreSQL takes settings of any extension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import NotSupportedError, connections, migrations, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.module_loading import import_string

from dorm_vector import HnswIndex, VectorExtension, models, nearest, search_params
from dorm_vector.engines import engine_for
from tests.support.migrating import Project
from tests.support.postgres import shown

PROPAGATE = "SET LOCAL citus.propagate_set_commands = 'local'"
CITUS = (
    "INSERT INTO pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, "
    "extversion) SELECT 99999, 'citus', extowner, extnamespace, false, '13.0' FROM pg_extension "
    "WHERE extname = 'plpgsql'"
)
INDEX = HnswIndex(fields=["embedding"], name="chunk_hnsw", metric="l2")
FIELDS = [
    ("pk", models.CompositePrimaryKey("tenant", "number")),
    ("tenant", models.IntegerField()),
    ("number", models.IntegerField()),
    ("embedding", models.VectorField(3)),
]


@pytest.fixture
def project(scratch: Callable[..., Any]) -> Project:
    scratch()
    return Project(
        VectorExtension(),
        migrations.CreateModel("Chunk", FIELDS),
        migrations.AddIndex("chunk", INDEX),
    )


@pytest.fixture
def citus(project: Project) -> Project:
    with project.connection.cursor() as cursor:
        cursor.execute("SET allow_system_table_mods = on")
        cursor.execute(CITUS)
        cursor.execute("RESET allow_system_table_mods")
    return project


@contextmanager
def sent(statements: list[str]) -> Iterator[None]:
    with CaptureQueriesContext(connections["scratch"]) as captured:
        yield
    statements += [query["sql"] for query in captured if query["sql"].startswith("SET")]


class TestCitus:
    def test_workers_hear_of_settings(self, citus: Project) -> None:
        statements: list[str] = []
        with sent(statements):
            list(nearest(citus.rows("chunk"), "embedding", [1, 2, 3], k=10, ef_search=100))
        assert statements[:2] == [PROPAGATE, "SET LOCAL hnsw.ef_search = '100'"]
        assert shown(citus.connection, "citus.propagate_set_commands") is None

    def test_of_a_block_and_after_it(self, citus: Project) -> None:
        """What was before is put back the other way round, so that the workers hear of it too."""
        statements: list[str] = []
        with transaction.atomic("scratch"):
            with sent(statements), search_params("scratch", ef_search=90, max_scan_tuples=9000):
                assert shown(citus.connection, "citus.propagate_set_commands") == "local"
                assert shown(citus.connection, "hnsw.ef_search") == "90"
            assert shown(citus.connection, "hnsw.ef_search") == "40"
        assert statements == [
            PROPAGATE,
            "SET LOCAL hnsw.ef_search = '90'",
            "SET LOCAL hnsw.max_scan_tuples = '9000'",
            "SET LOCAL hnsw.max_scan_tuples = '20000'",
            "SET LOCAL hnsw.ef_search = '40'",
            "SET LOCAL citus.propagate_set_commands = DEFAULT",
        ]

    def test_it_is_asked_once(self, citus: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        engine: Any = engine_for(citus.connection)
        assert "has_citus" not in vars(engine)
        search = nearest(citus.rows("chunk"), "embedding", [1, 2, 3], k=10, ef_search=100)
        list(search)
        assert vars(engine)["has_citus"] is True
        with CaptureQueriesContext(citus.connection) as captured:
            list(search.all())
        assert not any("pg_extension" in query["sql"] for query in captured)

    def test_not_where_it_is_missing(self, project: Project) -> None:
        statements: list[str] = []
        with sent(statements):
            list(nearest(project.rows("chunk"), "embedding", [1, 2, 3], k=10, ef_search=100))
        assert statements == ["SET LOCAL hnsw.ef_search = '100'"]

    def test_a_search_that_came_back_short_sets_what_workers_lack(self, citus: Project) -> None:
        engine: Any = engine_for(citus.connection)
        search = nearest(citus.rows("chunk"), "embedding", [1, 2, 3], k=10)
        assert engine.needs_other_settings(search.query.search_in_force, INDEX) is True
        statements: list[str] = []
        with sent(statements):
            list(search)
        assert statements == [PROPAGATE, "SET LOCAL hnsw.iterative_scan = 'strict_order'"]

    def test_the_distribution_column_is_in_the_key_and_the_query(self, citus: Project) -> None:
        """As ``create_distributed_table('shop_chunk', 'tenant')`` needs it."""
        sql = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p'"
        assert (("PRIMARY KEY (tenant, number)"),) in citus.execute(sql)
        with CaptureQueriesContext(citus.connection) as captured:
            list(nearest(citus.rows("chunk").filter(tenant=7), "embedding", [1, 2, 3], k=10))
        (statement,) = [q["sql"] for q in captured if q["sql"].startswith("SELECT")]
        assert '"shop_chunk"."tenant" = 7' in statement


class TestYugabyteDB:
    """Its ``hnsw`` is one of its own, which takes pgvector's statements: CREATE INDEX as here."""

    @pytest.fixture
    def wrapper(self) -> Any:
        wrapper_class = import_string("django_yugabytedb.base.DatabaseWrapper")
        return wrapper_class({**connections["postgresql"].settings_dict}, alias="yugabyte")

    def test_index(self, wrapper: Any, project: Project) -> None:
        assert engine_for(wrapper).name == "postgresql"
        with wrapper.schema_editor(collect_sql=True, atomic=False) as editor:
            sql = str(INDEX.create_sql(project.model("chunk"), editor))
        assert sql == (
            'CREATE INDEX "chunk_hnsw" ON "shop_chunk" USING hnsw ("embedding" vector_l2_ops)'
        )

    def test_a_server_that_knows_no_mode_is_not_set_one(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its prefix ``hnsw.`` is reserved without it, as by pgvector before 0.8."""
        unknown = "FROM pg_catalog.pg_settings WHERE name = 'hnsw.ef_search'"
        path = "dorm_vector.engines.postgresql.search.SESSION"
        session = import_string(path)
        start, end = session.index("FROM pg_catalog"), session.rindex(")")
        monkeypatch.setattr(path, f"{session[:start]}{unknown}\n{session[end:]}")
        engine: Any = engine_for(project.connection)
        search = nearest(project.rows("chunk"), "embedding", [1, 2, 3], k=10)
        list(search)  # loads pgvector
        project.execute("SET hnsw.iterative_scan = off")
        assert engine.needs_other_settings(search.query.search_in_force, INDEX) is False
        assert engine.lacks_settings is False


def test_cockroachdb_is_refused() -> None:
    wrapper_class = import_string("django_cockroachdb.base.DatabaseWrapper")
    wrapper = wrapper_class({**connections["postgresql"].settings_dict}, alias="roach")
    with pytest.raises(NotSupportedError) as caught:
        engine_for(wrapper).column_type("vector", 3)
    assert str(caught.value) == (
        "CockroachDB has vectors of its own instead of pgvector: no halfvec, sparsevec or bit "
        "distances, no HNSW or IVFFlat indexes, and none of their settings, so that nothing says "
        "whether a search of its indexes is complete (database 'roach'): have a router keep models "
        "with vectors on PostgreSQL, SQLite or libSQL."
    )
