"""ChangeVectorDimensions: what becomes of vectors, forwards, backwards and half way."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import DataError, NotSupportedError, OperationalError, connections, migrations
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteEditor
from django.db.migrations.optimizer import MigrationOptimizer
from django.db.migrations.writer import MigrationWriter
from django.db.models import F
from django.db.models.functions import Coalesce

import dorm_vector
from dorm_vector import ChangeVectorDimensions, FreshVector, VectorIndex, models, nearest
from dorm_vector.functions import VectorNorm
from tests.support.blocks import blocks
from tests.support.migrating import Project
from tests.support.paths import DOCS

# What the databases say to numbers that float16 has no room for.
UNFIT = {"postgresql": DataError, "sqlite": OperationalError, "libsql": OperationalError}
VECTORS = [[1.5, -2.25, 0.1, 4.0], None, [70.0, 0.0, 1e-3, 8.0], [-0.0, 3.0, 5.0, 6.0]]


def to(field: Any, existing: str = "null") -> ChangeVectorDimensions:
    return ChangeVectorDimensions("article", "embedding", field, existing=existing)


def vector(size: int, **kwargs: Any) -> Any:
    return models.VectorField(size, **{"null": True, **kwargs})


def half(size: int, **kwargs: Any) -> Any:
    return models.HalfVectorField(size, **{"null": True, **kwargs})


def articles(field: Any = None, **options: Any) -> Any:
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.TextField(default="a")),
        ("embedding", field or vector(4)),
        ("views", models.IntegerField(default=0)),
    ]
    given = {
        "indexes": [VectorIndex(fields=["embedding"], name="article_vec", metric="l2")],
        "constraints": [FreshVector(field="embedding", of=["title"], name="article_fresh")],
        **options,
    }
    return migrations.CreateModel("Article", fields, given)


def fill(project: Project, vectors: Any = VECTORS) -> None:
    model = project.model()
    project.rows().bulk_create([model(embedding=each) for each in vectors])


def stored(project: Project) -> list[Any]:
    return list(project.rows().order_by("pk").values_list("embedding", flat=True))


def rounded(vectors: Any, dtype: str, size: int = 4) -> list[Any]:
    """What a column of numpy's type reads, of the first components."""
    return [
        None if each is None else [float(x) for x in np.array(each[:size], "f4").astype(dtype)]
        for each in vectors
    ]


def is_whole(project: Project, size: int) -> bool:
    """Whether new vectors are taken, searched by the index, and made NULL with their sources."""
    rows = project.rows()
    row = rows.create(embedding=[9.0] * size, title="new")
    found = [each.pk for each in nearest(rows, "embedding", [9.0] * size, k=1)]
    rows.filter(pk=row.pk).update(title="other")
    row.refresh_from_db()
    fresh = row.embedding is None
    whole = (found, fresh) == ([row.pk], True)
    row.delete()
    return whole


@pytest.fixture
def project(empty_database: Any) -> Project:
    project = Project(articles())
    fill(project)
    return project


class TestDeclaration:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda: to(vector(3), "keep"),
                "ChangeVectorDimensions('article', 'embedding') needs one of "
                "'null', 'truncate', 'fail' as existing=, not 'keep'.",
            ),
            (
                lambda: to(models.VectorField(3)),
                "ChangeVectorDimensions('article', 'embedding') makes the vectors NULL, but the "
                "field has no null=True: add it, or use existing='truncate' or 'fail'.",
            ),
        ],
    )
    def test_refused_in_one_sentence(self, make: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            make()

    def test_fields_without_vectors(self) -> None:
        with pytest.raises(ValueError, match="'embedding'\\) takes a vector field, not <"):
            to(models.TextField())

    def test_exported(self) -> None:
        assert dorm_vector.ChangeVectorDimensions is ChangeVectorDimensions

    def test_written_migration(self) -> None:
        migration = migrations.Migration("0002", "shop")
        migration.operations = [to(vector(3), "truncate")]
        text = MigrationWriter(migration, include_header=False).as_string()
        assert "import dorm_vector.operations" in text
        assert "existing='truncate'" in text
        namespace: dict[str, Any] = {}
        exec(text, namespace)
        (read,) = namespace["Migration"].operations
        assert read.deconstruct()[2]["existing"] == "truncate"
        assert read.field.dimensions == 3

    def test_describe(self) -> None:
        operation = to(vector(3), "truncate")
        assert operation.describe() == "Change field embedding on article to vector(3) (truncate)"
        assert operation.migration_name_fragment == "alter_article_embedding"
        assert operation.reversible

    def test_state_is_that_of_alter_field(self) -> None:
        states = []
        for operation in (to(vector(3)), migrations.AlterField("article", "embedding", vector(3))):
            state = migrations.state.ProjectState()
            articles().state_forwards("shop", state)
            operation.state_forwards("shop", state)
            states.append(state)
        assert states[0] == states[1]

    def test_squashed(self) -> None:
        """It is part of the table that the same migration makes, and never lost otherwise."""

        def optimized(*operations: Any) -> list[str]:
            return [
                type(each).__name__ for each in MigrationOptimizer().optimize(operations, "shop")
            ]

        change, alter = to(vector(3)), migrations.AlterField("article", "embedding", vector(3))
        assert optimized(articles(), change) == ["CreateModel"]
        assert optimized(change, alter) == ["ChangeVectorDimensions", "AlterField"]
        assert optimized(change, to(vector(2), "truncate")) == 2 * ["ChangeVectorDimensions"]
        removal = migrations.RemoveField("article", "embedding")
        assert optimized(change, removal) == ["RemoveField"]

    def test_an_editor_that_does_not_know_it(self, project: Project) -> None:
        editor = SQLiteEditor(connections["default"], collect_sql=True)
        with pytest.raises(ImproperlyConfigured) as caught:
            to(vector(3)).database_forwards("shop", editor, project.state, project.state)
        assert str(caught.value) == (
            "The schema editor DatabaseSchemaEditor does not know vectors: add 'dorm_vector' to "
            "INSTALLED_APPS, or open the connection before its schema editor."
        )


class TestNull:
    @pytest.mark.parametrize(
        "field",
        [vector(2), vector(9), half(4), half(7), vector(4), models.BitField(length=4, null=True)],
    )
    def test_forwards_and_backwards(self, empty_database: Any, field: Any) -> None:
        project = Project(articles(indexes=[], constraints=[]))
        fill(project)
        project.run(to(field))
        assert stored(project) == 4 * [None]
        project.rows().update(embedding="1010" if field.kind == "bit" else [1.0] * field.dimensions)
        project.undo(to(field))
        assert stored(project) == 4 * [None]

    def test_with_index_and_constraint(self, project: Project) -> None:
        for operation, size in ((to(vector(6)), 6), (to(half(5)), 5)):
            project.run(operation)
            assert stored(project) == 4 * [None]
            assert is_whole(project, size)
            fill(project, [[1.0] * size])
            project.rows().filter(pk=project.rows().last().pk).delete()
        for operation, size in ((to(half(5)), 6), (to(vector(6)), 4)):
            project.undo(operation)
            assert stored(project) == 4 * [None]
            assert is_whole(project, size)

    def test_a_field_that_was_needed(self, empty_database: Any) -> None:
        """Back it goes only without rows."""
        constraints: list[Any] = []
        project = Project(articles(models.VectorField(4), constraints=constraints))
        fill(project, [VECTORS[0]])
        project.run(to(vector(3)))
        assert stored(project) == [None]
        with pytest.raises(NotSupportedError) as caught:
            project.undo(to(vector(3)))
        assert str(caught.value) == (
            "Article.embedding holds vectors of vector(3), which cannot become vector(4), and the "
            "field has no null=True: delete the rows, or restore the vectors from a backup."
        )
        project.rows().all().delete()
        project.undo(to(vector(3)))
        fill(project, [VECTORS[0]])
        assert stored(project) == rounded([VECTORS[0]], "f4")


class TestTruncate:
    @pytest.mark.parametrize(
        ("field", "dtype"), [(vector(2), "f4"), (half(4), "f2"), (half(3), "f2"), (vector(4), "f4")]
    )
    def test_vectors(self, project: Project, field: Any, dtype: str) -> None:
        project.run(to(field, "truncate"))
        kept = rounded(VECTORS, dtype, field.dimensions)
        assert stored(project) == kept
        assert is_whole(project, field.dimensions)
        project.undo(to(field, "truncate"))
        assert stored(project) == (kept if field.dimensions == 4 else 4 * [None])
        assert is_whole(project, 4)

    @pytest.mark.parametrize("size", [4, 3])
    def test_half_vectors(self, empty_database: Any, size: int) -> None:
        project = Project(articles(half(4)))
        fill(project)
        project.run(to(vector(size), "truncate"))
        assert stored(project) == rounded(VECTORS, "f2", size)
        assert is_whole(project, size)
        project.undo(to(vector(size), "truncate"))
        assert stored(project) == (rounded(VECTORS, "f2") if size == 4 else 4 * [None])

    def test_beyond_the_range_of_half(self, project: Project) -> None:
        fill(project, [[70_000.0, 1, 1, 1]])
        before = stored(project)
        with pytest.raises(UNFIT[project.engine]):
            project.run(to(half(4), "truncate"))
        assert stored(project) == before
        assert is_whole(project, 4)

    def test_without_null(self, empty_database: Any) -> None:
        project = Project(articles(models.VectorField(4), constraints=[]))
        fill(project, [VECTORS[0], VECTORS[2]])
        operation = to(models.VectorField(2), "truncate")
        project.run(operation)
        assert stored(project) == rounded([VECTORS[0], VECTORS[2]], "f4", 2)
        with pytest.raises(NotSupportedError, match="which cannot become vector"):
            project.undo(operation)
        assert stored(project) == rounded([VECTORS[0], VECTORS[2]], "f4", 2)

    @pytest.mark.parametrize(
        ("field", "wanted"),
        [(vector(5), "vector(5)"), (models.BitField(length=2, null=True), "bit(2)")],
    )
    def test_what_cannot_be(self, project: Project, field: Any, wanted: str) -> None:
        with pytest.raises(NotSupportedError) as caught:
            project.run(to(field, "truncate"))
        assert str(caught.value) == (
            "Article.embedding holds vectors of vector(4), which cannot be truncated to "
            f"{wanted}: use existing='null'."
        )
        assert stored(project) == rounded(VECTORS, "f4")


class TestFail:
    def test_vectors_there(self, project: Project) -> None:
        with pytest.raises(NotSupportedError) as caught:
            project.run(to(vector(3), "fail"))
        assert str(caught.value) == (
            "Article.embedding holds vectors of vector(4), and existing='fail' makes them neither "
            "NULL "
            "nor vector(3): use 'null' or 'truncate'."
        )
        assert stored(project) == rounded(VECTORS, "f4")
        assert is_whole(project, 4)

    def test_the_same_vectors(self, project: Project) -> None:
        project.run(to(vector(4, help_text="another"), "fail"))
        assert stored(project) == rounded(VECTORS, "f4")

    def test_none_there(self, project: Project) -> None:
        project.rows().update(embedding=None)
        operation = to(half(3), "fail")
        project.run(operation)
        assert is_whole(project, 3)
        fill(project, [[1.0, 2.0, 3.0]])
        with pytest.raises(NotSupportedError, match="holds vectors of halfvec\\(3\\), and"):
            project.undo(operation)
        project.rows().update(embedding=None)
        project.undo(operation)
        assert is_whole(project, 4)


class TestBoth:
    def test_alter_field_names_it(self, project: Project) -> None:
        with pytest.raises(NotSupportedError) as caught:
            project.run(migrations.AlterField("article", "embedding", vector(6)))
        assert str(caught.value) == (
            "Article.embedding holds vectors of vector(4), which AlterField cannot convert to "
            "vector(6): use ChangeVectorDimensions, or add a field, fill it, and remove the old "
            "one."
        )

    def test_not_a_vector(self, project: Project) -> None:
        operation = ChangeVectorDimensions("article", "views", vector(3))
        with pytest.raises(FieldError) as caught:
            project.run(operation)
        assert str(caught.value) == (
            "ChangeVectorDimensions is for vector fields, and Article.views is not one."
        )

    def test_a_field_computed_from_it(self, project: Project) -> None:
        norm = models.GeneratedField(
            expression=VectorNorm("embedding"), output_field=models.FloatField(), db_persist=True
        )
        project.run(migrations.AddField("article", "norm", norm))
        with pytest.raises(NotSupportedError) as caught:
            project.run(to(vector(3)))
        assert str(caught.value) == (
            "Article.embedding cannot become vector(3) while norm is computed from it: remove "
            "that field first, and add it again afterwards."
        )

    def test_odd_names(self, empty_database: Any) -> None:
        field = vector(4, db_column="it's a column")
        project = Project(articles(field, db_table="Odd 'table'"))
        fill(project)
        changed = vector(3, db_column=field.db_column)
        project.run(to(changed, "truncate"))
        assert stored(project) == rounded(VECTORS, "f4", 3)
        renamed = half(2, db_column="new")
        project.run(to(renamed, "truncate"))
        assert stored(project) == rounded(VECTORS, "f2", 2)
        assert is_whole(project, 2)

    def test_several_indexes(self, project: Project) -> None:
        for name, metric, options in (
            ("by_cosine", "cosine", {}),
            ("by_half", "cosine", {"precision": "half"}),
            ("by_prefix", "l2", {"prefix": 2}),
        ):
            index = VectorIndex(fields=["embedding"], name=name, metric=metric, **options)
            project.run(migrations.AddIndex("article", index))
        project.run(to(vector(3), "truncate"))
        assert is_whole(project, 3)
        with pytest.raises(FieldError, match="'by_prefix' is over the first 2 components"):
            project.run(to(vector(1), "truncate"))
        assert is_whole(project, 3)

    @pytest.mark.parametrize("existing", ["null", "truncate"])
    def test_not_atomic(self, project: Project, existing: str) -> None:
        """A migration with atomic = False changes all of it, or nothing, too."""
        for point in interruptions(project, to(half(3), existing), atomic=False):
            assert stored(project) == rounded(VECTORS, "f4"), point
            assert is_whole(project, 4)
        assert is_whole(project, 3)

    @pytest.mark.parametrize("existing", ["null", "truncate"])
    def test_interrupted(self, project: Project, existing: str) -> None:
        operation = to(half(3), existing)
        for point in interruptions(project, operation):
            assert stored(project) == rounded(VECTORS, "f4"), point
            assert is_whole(project, 4)
        assert is_whole(project, 3)

    def test_another_column_on_an_empty_table(self, empty_database: Any) -> None:
        """By AlterField as well."""
        project = Project(articles())
        project.run(migrations.AlterField("article", "embedding", vector(2, db_column="v")))
        assert is_whole(project, 2)

    def test_db_default(self, empty_database: Any) -> None:
        """One of the old dimensions and one of the new."""
        project = Project(articles(vector(4, db_default=[1, 2, 3, 4])))
        fill(project, VECTORS[:1])
        for existing, kept in (("truncate", VECTORS[:1]), ("null", [None])):
            operation = to(vector(2, db_default=[5, 6]), existing)
            project.run(operation)
            assert stored(project) == rounded(kept, "f4", 2)
            project.execute("INSERT INTO shop_article (title, views) VALUES ('raw', 0)")
            assert project.rows().get(title="raw").embedding == [5.0, 6.0]
            project.rows().filter(title="raw").delete()
            project.undo(operation)
            project.rows().update(embedding=VECTORS[0])

    def test_relations(self, project: Project) -> None:
        """Rows of other tables stay, although SQLite rebuilds this one."""
        key = models.ForeignKey("shop.Article", models.CASCADE)
        fields = [("id", models.BigAutoField(primary_key=True)), ("article", key)]
        project.run(migrations.CreateModel("Comment", fields))
        project.rows("comment").create(article_id=project.rows().first().pk)
        project.run(to(vector(3), "truncate"))
        assert project.rows("comment").get().article.embedding == rounded(VECTORS, "f4", 3)[0]

    def test_sqlmigrate(self, project: Project) -> None:
        before = stored(project)
        forwards = " ".join(project.sql(to(half(3), "truncate")))
        assert {
            "postgresql": 'TYPE halfvec(3) USING subvector("embedding", 1, 3)::halfvec',
            "sqlite": 'dorm_half(CASE WHEN "embedding" IS NOT NULL THEN substr("embedding", ',
            "libsql": "vector16(w)",
        }[project.engine] in forwards
        assert stored(project) == before


def interruptions(project: Project, operation: Any, **kwargs: Any) -> Any:
    """
    Run an operation that fails at its first statement, its second one, ..., until it does not.

    What Django sends after COMMIT is no part of it.
    """
    for point in itertools.count(1):
        counter = itertools.count(1)

        def fail(execute: Any, sql: str, *args: Any) -> Any:
            if not sql.startswith("PRAGMA") and next(counter) == point:  # noqa: B023 - of this turn
                raise InterruptedError(sql)
            return execute(sql, *args)

        try:
            with project.connection.execute_wrapper(fail):
                project.run(operation, **kwargs)
        except InterruptedError:
            yield point
        else:
            assert point > 3
            break


class TestAssignment:
    """An expression of one kind is made one of the other where it is assigned."""

    @pytest.fixture
    def project(self, empty_database: Any) -> Project:
        extra = [migrations.AddField("article", "half", half(4))]
        project = Project(articles(constraints=[]), *extra)
        fill(project)
        return project

    def test_update(self, project: Project) -> None:
        rows = project.rows()
        rows.update(half=F("embedding"))
        halves = list(rows.order_by("pk").values_list("half", flat=True))
        assert halves == rounded(VECTORS, "f2")
        rows.update(embedding=F("half"))
        assert stored(project) == rounded(VECTORS, "f2")

    def test_other_expressions(self, project: Project) -> None:
        rows, model = project.rows(), project.model()
        rows.update(half=Coalesce(F("embedding"), F("embedding")))
        whole = rounded(VECTORS, "f2")
        assert list(rows.order_by("pk").values_list("half", flat=True)) == whole
        rows.update(half=None)
        same = model.objects.filter(pk=models.OuterRef("pk")).values("embedding")
        rows.update(half=models.Subquery(same))
        assert list(rows.order_by("pk").values_list("half", flat=True)) == whole
        article = rows.first()
        article.embedding, article.half = [1, 2, 3, 4], F("embedding")
        article.save(update_fields=["embedding"])
        article.save(update_fields=["half"])
        article.refresh_from_db()
        assert article.half == [1, 2, 3, 4]

    def test_beyond_the_range(self, project: Project) -> None:
        fill(project, [[70_000.0, 1, 1, 1]])
        with pytest.raises(UNFIT[project.engine]), project.atomic():
            project.rows().update(half=F("embedding"))
        assert not project.rows().exclude(half=None).exists()


def documented(name: str) -> Any:
    """The operations of a migration in the documentation."""
    found = {block.caption: block for block in blocks(DOCS / "migrations.rst")}
    namespace: dict[str, Any] = {}
    exec(found[f"shop/migrations/{name}.py"].source, namespace)
    return namespace["Migration"].operations


class TestDocumentation:
    def test_larger_model(self, project: Project) -> None:
        (operation,) = documented("0004_larger_model")
        project.run(operation)
        assert is_whole(project, 6)
        project.undo(operation)
        assert is_whole(project, 4)

    def test_without_downtime(self, project: Project) -> None:
        for operation in documented("0004_embedding_large"):
            project.run(operation)
        rows = project.rows()
        rows.update(embedding_large=[1, 2, 3, 4, 5, 6])
        assert is_whole(project, 4)
        first, second = rows.order_by("pk")[:2]
        second.title = "other"
        second.save()
        fresh = rows.exclude(embedding_large=None)
        assert (first in fresh, second in fresh) == (True, False)
        project.run(migrations.RemoveIndex("article", "article_vec"))
        for operation in documented("0005_without_embedding"):
            project.run(operation)
        article = project.rows().first()
        article.title = "changed"
        article.save()
        article.refresh_from_db()
        assert article.embedding_large is None
        assert "article_fresh" not in project.triggers()
