"""``AddPartitionedIndexConcurrently``: on each partition, again after a failure, and backwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest
from django.core.management import call_command
from django.db import (
    DatabaseError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    migrations,
)
from django.db.migrations.writer import MigrationWriter

from dorm_vector import (
    AddPartitionedIndexConcurrently,
    HnswIndex,
    TextIndex,
    VectorIndex,
    models,
    nearest,
)
from dorm_vector.engines import engine_for
from dorm_vector.testing import explain_nearest
from tests.support.migrating import Project

DIMENSIONS = 4
KEY = models.CompositePrimaryKey("tenant", "number")
VECTORS = np.random.default_rng(2).normal(size=(400, DIMENSIONS)).astype("f4")


def created(table: str = "Shop Chunk") -> migrations.SeparateDatabaseAndState:
    """The model alone: its table is made by SQL."""
    fields = [
        ("pk", KEY),
        ("tenant", models.IntegerField()),
        ("number", models.IntegerField()),
        ("text", models.CharField(max_length=20, default="")),
        ("embedding", models.VectorField(DIMENSIONS, db_column="the vector")),
    ]
    model = migrations.CreateModel("Chunk", fields, {"db_table": table})
    return migrations.SeparateDatabaseAndState(state_operations=[model])


def hnsw(name: str = "chunk_hnsw", **options: Any) -> HnswIndex:
    return HnswIndex(**{"fields": ["embedding"], "name": name, "metric": "l2", **options})


def added(index: Any = None) -> AddPartitionedIndexConcurrently:
    return AddPartitionedIndexConcurrently("chunk", hnsw() if index is None else index)


@pytest.fixture
def database(scratch: Callable[..., Any]) -> Any:
    wrapper = scratch()
    with wrapper.cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    return wrapper


@pytest.fixture
def project(database: Any) -> Project:
    """A table by hash with two partitions, of which one is by range with two of its own."""
    project = Project(created())
    make_table(project)
    return project


def make_table(project: Project, schema: str = "public", by: str = "LIST (tenant)") -> None:
    table = f'"{schema}"."Shop Chunk"'
    run(
        project,
        f"CREATE TABLE {table} (tenant int, number int, text varchar(20) NOT NULL DEFAULT '', "
        f'"the vector" vector({DIMENSIONS}) NOT NULL, PRIMARY KEY (tenant, number)) '
        f"PARTITION BY {by}",
        f'CREATE TABLE "{schema}"."one" PARTITION OF {table} FOR VALUES IN (1)',
        f'CREATE TABLE "{schema}"."odd ""%s"" name" PARTITION OF {table} FOR VALUES IN (2, 3) '
        "PARTITION BY RANGE (number)",
        f'CREATE TABLE "{schema}"."low" PARTITION OF "{schema}"."odd ""%s"" name" '
        "FOR VALUES FROM (0) TO (200)",
        f'CREATE TABLE "{schema}"."high" PARTITION OF "{schema}"."odd ""%s"" name" '
        "FOR VALUES FROM (200) TO (9999)",
    )


def run(project: Project, *statements: str) -> None:
    with project.connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def fill(project: Project) -> Any:
    model = project.model("chunk")
    rows = project.rows("chunk")
    rows.bulk_create(
        model(tenant=1 + number % 3, number=number, embedding=vector)
        for number, vector in enumerate(VECTORS)
    )
    return rows


def searched(project: Project) -> Any:
    """The rows, of which the planner takes the index."""
    run(project, f"ANALYZE {PARENT}", "SET enable_seqscan = off", "SET enable_sort = off")
    return project.rows("chunk")


def states(project: Project, method: str = "hnsw") -> dict[str, tuple[bool, str | None]]:
    """By table, whether its index is valid, and the table whose index it is a part of."""
    found = project.execute(
        "SELECT x.indrelid::regclass::text, x.indisvalid, ("
        " SELECT p.indrelid::regclass::text FROM pg_inherits h "
        " JOIN pg_index p ON p.indexrelid = h.inhparent WHERE h.inhrelid = x.indexrelid) "
        "FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam "
        f"WHERE a.amname = '{method}' AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    return {table: (valid, parent) for table, valid, parent in found}


PARENT, ODD = '"Shop Chunk"', '"odd ""%s"" name"'
KEYLESS = f'ALTER TABLE {PARENT} DROP CONSTRAINT "Shop Chunk_pkey"'
WHOLE = {
    PARENT: (True, None),
    "one": (True, PARENT),
    ODD: (True, PARENT),
    "low": (True, ODD),
    "high": (True, ODD),
}


class TestBuilding:
    def test_each_partition_has_an_index(self, project: Project) -> None:
        fill(project)
        project.run(added(), atomic=False)
        assert states(project) == WHOLE
        rows = searched(project)
        found = nearest(rows, "embedding", VECTORS[7], k=5)
        expected = np.argsort(np.linalg.norm(VECTORS - VECTORS[7], axis=1))[:5]
        assert [row.number for row in found] == list(expected)
        plan = explain_nearest(found).plan
        assert plan.count("Index Scan using chunk_hnsw_") == 3
        assert plan.count("Order By") == 3

    def test_a_tenant_searches_its_own_partition(self, project: Project) -> None:
        fill(project)
        project.run(added(), atomic=False)
        rows = searched(project)
        found = nearest(rows.filter(tenant=1), "embedding", VECTORS[7], k=5)
        distances = np.linalg.norm(VECTORS - VECTORS[7], axis=1)
        distances[np.arange(len(VECTORS)) % 3 != 0] = np.inf
        assert [row.pk for row in found] == [(1, n) for n in np.argsort(distances)[:5]]
        plan = explain_nearest(found).plan
        assert "on one" in plan
        assert "on low" not in plan
        assert "on high" not in plan

    def test_partitions_that_come_later(self, project: Project) -> None:
        project.run(added(), atomic=False)
        run(project, f"CREATE TABLE two PARTITION OF {PARENT} FOR VALUES IN (4)")
        assert states(project) == {**WHOLE, "two": (True, PARENT)}

    def test_by_hash(self, database: Any) -> None:
        project = Project(created("shop_chunk"))
        run(
            project,
            'CREATE TABLE shop_chunk (tenant int, number int, text text, "the vector" '
            f"vector({DIMENSIONS}), PRIMARY KEY (tenant, number)) PARTITION BY HASH (tenant)",
            *(
                f"CREATE TABLE part{n} PARTITION OF shop_chunk FOR VALUES WITH (MODULUS 3, "
                f"REMAINDER {n})"
                for n in range(3)
            ),
        )
        project.run(added(), atomic=False)
        parts = {f"part{n}": (True, "shop_chunk") for n in range(3)}
        assert states(project) == {"shop_chunk": (True, None), **parts}

    def test_without_partitions_in_it_yet(self, database: Any) -> None:
        project = Project(created("shop_chunk"))
        run(
            project,
            'CREATE TABLE shop_chunk (tenant int, number int, "the vector" '
            f"vector({DIMENSIONS}), PRIMARY KEY (tenant, number)) PARTITION BY LIST (tenant)",
        )
        project.run(added(), atomic=False)
        assert states(project) == {"shop_chunk": (True, None)}

    @pytest.mark.parametrize(
        ("index", "method"),
        [
            (hnsw(precision="half"), "hnsw"),
            (hnsw(precision="bit", metric="cosine"), "hnsw"),
            (hnsw(m=8, condition=models.Q(text="x%")), "hnsw"),
            (VectorIndex(fields=["embedding"], name="v", metric="ip"), "hnsw"),
            (TextIndex(fields=["text"], name="words"), "gin"),
            (models.Index(fields=["text", "-number"], name="plain"), "btree"),
        ],
        ids=["half", "bit", "partial", "portable", "words", "django"],
    )
    def test_every_index(self, project: Project, index: Any, method: str) -> None:
        if method == "btree":
            run(project, KEYLESS)
        project.run(added(index), atomic=False)
        assert states(project, method) == WHOLE
        project.run(added(index), atomic=False)  # as if it had not been recorded
        project.undo(added(index), atomic=False)
        assert states(project, method) == {}

    @pytest.mark.parametrize("name", ["c" * 30, "ü" * 29, "a" * 10 + "%s"])
    def test_names(self, project: Project, name: str) -> None:
        project.run(added(hnsw(name)), atomic=False)
        assert states(project) == WHOLE
        names = project.execute("SELECT relname FROM pg_class WHERE relkind IN ('i', 'I')")
        assert all(len(found.encode()) <= 63 for (found,) in names)
        project.run(added(hnsw(name)), atomic=False)
        assert states(project) == WHOLE

    def test_names_past_the_limit_of_the_database(self, project: Project) -> None:
        index = hnsw()
        index.name = "n" * 80
        project.run(added(index), atomic=False)
        assert states(project) == WHOLE
        project.run(added(index), atomic=False)
        assert states(project) == WHOLE

    def test_other_schemas(self, project: Project) -> None:
        """The table that is meant is the one on the search path, as a tenant's."""
        run(project, "CREATE SCHEMA other")
        make_table(project, "other")
        run(project, "SET search_path = other, public")
        project.run(added(), atomic=False)
        schemas = "SELECT DISTINCT schemaname FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'"
        assert project.execute(schemas) == [("other",)]
        run(project, "SET search_path = public")
        project.run(added(), atomic=False)
        assert states(project)[PARENT] == (True, None)
        assert len(project.execute(schemas)) == 2

    def test_beside_foreign_tables(self, project: Project) -> None:
        """They have no index, and PostgreSQL would count them among those that lack theirs."""
        run(
            project,
            KEYLESS,
            "CREATE EXTENSION postgres_fdw",
            "CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere')",
            f"CREATE FOREIGN TABLE away PARTITION OF {PARENT} FOR VALUES IN (9) SERVER away",
        )
        project.run(added(), atomic=False)
        assert states(project) == WHOLE
        project.run(added(), atomic=False)
        project.undo(added(), atomic=False)
        assert states(project) == {}

    @pytest.mark.parametrize("number", range(2, 10))
    def test_writes_go_on(self, project: Project, number: int) -> None:
        """No lock is held from one statement to the next."""
        fill(project)
        parameters = project.connection.get_connection_params()
        with psycopg.connect(**parameters, autocommit=True) as other:
            other.execute("SET lock_timeout = '5s'")
            written = f"INSERT INTO {PARENT} VALUES (1, 9001, '', '[1, 2, 3, 4]')"
            with stopped(project.connection, number, lambda: other.execute(written)):
                project.run(added(), atomic=False)
        assert states(project) == WHOLE
        assert project.rows("chunk").count() == len(VECTORS) + 1


class TestInterruptions:
    def test_again_after_each_statement(self, project: Project) -> None:
        """Whatever was built stays, and the rest is built."""
        fill(project)
        for _ in range(8):  # each run does one statement more
            with pytest.raises(Stopped), stopped(project.connection, 2):
                project.run(added(), atomic=False)
        project.run(added(), atomic=False)
        assert states(project) == WHOLE

    def test_again_after_a_build_that_was_cancelled(self, project: Project) -> None:
        """Which leaves an INVALID index behind."""
        fill(project)
        with psycopg.connect(**project.connection.get_connection_params()) as other:
            # CREATE INDEX CONCURRENTLY waits for a transaction that writes, until it gives up.
            other.execute("INSERT INTO high VALUES (2, 500, '', '[1, 2, 3, 4]')")
            run(project, "SET statement_timeout = '300ms'")
            with pytest.raises(OperationalError, match="statement timeout"):
                project.run(added(), atomic=False)
            run(project, "RESET statement_timeout")
            other.rollback()
        left = states(project)
        assert [valid for valid, _ in left.values()].count(False) >= 2
        assert left[PARENT] == (False, None)
        project.run(added(), atomic=False)
        assert states(project) == WHOLE
        assert nearest(searched(project), "embedding", VECTORS[7], k=1)[0].number == 7

    def test_vector_reindex_goes_on_too(
        self, project: Project, install: Callable[[Any], None]
    ) -> None:
        fill(project)
        with pytest.raises(Stopped), stopped(project.connection, 3):
            project.run(added(), atomic=False)
        model = index_of(project)
        install(model)
        (state,) = (
            each
            for each in engine_for(project.connection).index_states(model)
            if each.name == "chunk_hnsw"
        )
        assert state.problem == (
            "chunk_hnsw is INVALID: partitions lack their part of it, so that searches read all "
            "rows of these, or one of them went while it was built."
        )
        assert state.cure == "manage.py vector_reindex shop.Chunk --database scratch"
        call_command("vector_reindex", "shop.Chunk", database="scratch", verbosity=0)
        assert states(project) == WHOLE

    def test_a_partition_that_is_detached_meanwhile(self, project: Project) -> None:
        with stopped(project.connection, 3, lambda: detach(project, PARENT, "one")):
            project.run(added(), atomic=False)
        whole = states(project)
        assert whole.pop("one", (True, None)) == (True, None)
        assert whole == {table: state for table, state in WHOLE.items() if table != "one"}

    @pytest.mark.parametrize(("after", "stays_valid"), [(2, True), (3, True), (5, False)])
    def test_a_partition_that_is_dropped_meanwhile(
        self, project: Project, after: int, stays_valid: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The others are built. PostgreSQL marks the index valid only when a part is attached."""
        fill(project)
        with stopped(project.connection, after, lambda: run(project, 'DROP TABLE "low"')):
            project.run(added(), atomic=False)
        found = states(project)
        assert {t: parent for t, (_, parent) in found.items()} == {
            t: parent for t, (_, parent) in WHOLE.items() if t != "low"
        }
        assert found["high"] == (True, ODD)
        assert found["one"] == (True, PARENT)
        assert found[PARENT] == (stays_valid, None)
        warned = (
            "chunk_hnsw serves every partition, and PostgreSQL keeps it marked INVALID, since a "
            "partition was detached or dropped while it was built; to have it valid, drop it and "
            "migrate again."
        )
        assert caplog.messages == [] if stays_valid else [warned]
        plan = explain_nearest(nearest(searched(project), "embedding", VECTORS[7], k=5)).plan
        assert plan.count("Order By") == 2

    def test_a_partition_that_comes_meanwhile(self, project: Project) -> None:
        new = f"CREATE TABLE two PARTITION OF {PARENT} FOR VALUES IN (4)"
        with stopped(project.connection, 4, lambda: run(project, new)):
            project.run(added(), atomic=False)
        assert states(project) == {**WHOLE, "two": (True, PARENT)}

    def test_an_error_of_the_database_is_raised(self, project: Project) -> None:
        model = project.model("chunk")
        project.rows("chunk").create(tenant=1, number=1, embedding=[1e30, 0, 0, 0])
        assert model is not None
        with pytest.raises(DatabaseError, match="halfvec"):
            project.run(added(hnsw(precision="half")), atomic=False)
        project.rows("chunk").all().delete()
        project.run(added(hnsw(precision="half")), atomic=False)
        assert states(project) == WHOLE


class TestRefusals:
    def test_another_definition(self, project: Project) -> None:
        with pytest.raises(Stopped), stopped(project.connection, 3):
            project.run(added(), atomic=False)
        before = states(project)
        with pytest.raises(ProgrammingError) as caught:
            project.run(added(hnsw(m=8)), atomic=False)
        assert str(caught.value) == (
            "The index 'chunk_hnsw' is in the database with another definition than the "
            'migration\'s: CREATE INDEX chunk_hnsw ON ONLY public."Shop Chunk" USING '
            'hnsw ("the vector" vector_l2_ops). Drop it, then migrate again.'
        )
        assert states(project) == before

    def test_parts_of_another_definition(self, project: Project) -> None:
        """They stay where the index is dropped to which they were to be attached."""
        with pytest.raises(Stopped), stopped(project.connection, 6):
            project.run(added(), atomic=False)
        run(project, "DROP INDEX chunk_hnsw")
        left = dict(
            project.execute(
                "SELECT i.oid::regclass::text, pg_get_indexdef(i.oid) FROM pg_class i "
                "WHERE relname LIKE 'chunk_hnsw%' AND NOT relispartition"
            )
        )
        assert len(left) == 2
        for name in sorted(left, key=lambda name: "ON ONLY" not in left[name]):
            # Neither is an INVALID one dropped that is not what is declared.
            run(
                project,
                f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {name!r}::regclass",
            )
            with pytest.raises(ProgrammingError) as caught:
                project.run(added(hnsw(m=8)), atomic=False)
            assert str(caught.value) == (
                f"The index {name!r} is in the database with another definition than the "
                f"migration's: {left[name]}. Drop it, then migrate again."
            )
            run(project, f"DROP INDEX {name}")
        project.run(added(hnsw(m=8)), atomic=False)
        assert states(project) == WHOLE

    @pytest.mark.parametrize("is_whole", [True, False])
    def test_another_column(self, project: Project, is_whole: bool) -> None:
        run(project, f'ALTER TABLE {PARENT} ADD "other" vector({DIMENSIONS})')
        only = "" if is_whole else "ONLY "
        definition = f'CREATE INDEX chunk_hnsw ON {only}{PARENT} USING hnsw ("other" vector_l2_ops)'
        run(project, definition)
        before = states(project)
        with pytest.raises(ProgrammingError, match=r"another definition .*\(other vector_l2_ops"):
            project.run(added(), atomic=False)
        assert states(project) == before

    def test_a_name_that_is_taken(self, project: Project) -> None:
        run(project, "CREATE TABLE chunk_hnsw (id int)")
        with pytest.raises(ProgrammingError, match='relation "chunk_hnsw" already exists'):
            project.run(added(), atomic=False)
        assert states(project) == {}

    def test_within_a_transaction(self, project: Project) -> None:
        with pytest.raises(NotSupportedError) as caught:
            project.run(added())
        assert str(caught.value) == (
            "The AddPartitionedIndexConcurrently operation cannot be executed inside a transaction "
            "(set atomic = False on the migration)."
        )
        assert states(project) == {}


class TestDeclaration:
    def test_written_migration(self) -> None:
        written, imports = MigrationWriter.serialize(added())
        assert imports == {"import dorm_vector.operations", "import dorm_vector.indexes"}
        assert written == (
            "dorm_vector.operations.AddPartitionedIndexConcurrently(\n"
            "    model_name='chunk',\n"
            "    index=dorm_vector.indexes.HnswIndex(fields=['embedding'], metric='l2', "
            "name='chunk_hnsw'),\n"
            ")"
        )

    def test_described(self) -> None:
        assert added().describe() == (
            "Concurrently, on each partition: Create index chunk_hnsw on field(s) embedding of "
            "model chunk"
        )
        assert added().migration_name_fragment == "chunk_chunk_hnsw"

    def test_sqlmigrate(self, project: Project) -> None:
        connection = project.connection
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            operation = added(hnsw(m=8))
            state = project.state.clone()
            operation.state_forwards("shop", state)
            operation.database_forwards("shop", editor, project.state, state)
        on = 'USING hnsw ("the vector" vector_l2_ops) WITH (m = 8);'
        lines = [hidden(line) for line in editor.collected_sql]
        assert lines == [
            f'CREATE INDEX "chunk_hnsw" ON ONLY public.{PARENT} {on}',
            f'CREATE INDEX "chunk_hnsw_#" ON ONLY public.{ODD} {on}',
            f'CREATE INDEX CONCURRENTLY "chunk_hnsw_#" ON public.high {on}',
            'ALTER INDEX public."chunk_hnsw_#" ATTACH PARTITION public."chunk_hnsw_#";',
            f'CREATE INDEX CONCURRENTLY "chunk_hnsw_#" ON public.low {on}',
            'ALTER INDEX public."chunk_hnsw_#" ATTACH PARTITION public."chunk_hnsw_#";',
            'ALTER INDEX public."chunk_hnsw" ATTACH PARTITION public."chunk_hnsw_#";',
            f'CREATE INDEX CONCURRENTLY "chunk_hnsw_#" ON public.one {on}',
            'ALTER INDEX public."chunk_hnsw" ATTACH PARTITION public."chunk_hnsw_#";',
        ]
        assert states(project) == {}


class TestElsewhere:
    def test_a_table_without_partitions(self, empty_database: Any) -> None:
        project = Project(
            migrations.CreateModel(
                "Chunk",
                [
                    ("id", models.AutoField(primary_key=True)),
                    ("embedding", models.VectorField(DIMENSIONS)),
                ],
            )
        )
        index = VectorIndex(fields=["embedding"], name="chunk_vec", metric="l2")
        rows = project.rows("chunk")
        rows.create(embedding=[1, 2, 3, 4])
        project.run(added(index), atomic=False)
        rows = project.rows("chunk")
        assert nearest(rows, "embedding", [1, 2, 3, 4], k=1)[0].distance == 0
        assert names(project) == ["chunk_vec"]
        project.undo(added(index), atomic=False)
        assert names(project) == []


def names(project: Project) -> list[str]:
    """The vector indexes of the table, as the database has them."""
    model = project.model("chunk")
    found = engine_for(project.connection).vector_indexes(model._meta.db_table)
    return [index.name for index in found]


def index_of(project: Project) -> Any:
    """The model as the migration that was stopped would have left it."""
    state = project.state.clone()
    added().state_forwards("shop", state)
    return state.apps.get_model("shop", "chunk")


def detach(project: Project, table: str, part: str) -> None:
    run(project, f"ALTER TABLE {table} DETACH PARTITION {part}")


def hidden(line: str) -> str:
    """A line without the digests of names."""
    return re.sub(r"chunk_hnsw_[0-9a-f]{8}", "chunk_hnsw_#", line)


class Stopped(Exception):  # noqa: N818 - it is not an error
    pass


class stopped:  # noqa: N801 - a function to its callers
    """A block in which something happens before a statement of DDL, by its number from 1 on."""

    def __init__(self, connection: Any, number: int, happens: Callable[[], object] | None = None):
        self.connection, self.number, self.happens = connection, number, happens
        self.count = 0

    def __enter__(self) -> None:
        self.wrapper = self.connection.execute_wrapper(self.before)
        self.wrapper.__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        self.wrapper.__exit__(*exc_info)

    def before(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if str(sql).startswith(("CREATE INDEX", "ALTER INDEX", "DROP INDEX")):
            self.count += 1
            if self.count == self.number:
                if self.happens is None:
                    raise Stopped
                self.happens()
        return execute(sql, params, many, context)
