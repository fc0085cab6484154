"""FreshVector: what makes a vector NULL, and the trigger through every change of its table."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest
from django.contrib.postgres.operations import CITextExtension
from django.db import IntegrityError, migrations, transaction
from django.db.models import CompositePrimaryKey, F, Q
from django.db.models.functions import Left, Lower, Upper

from dorm_vector import FreshVector, VectorIndex, models, nearest
from tests.support.migrating import Project

OLD, NEW = [1, 2, 3], [4, 5, 6]
FIELDS = [
    ("id", models.BigAutoField(primary_key=True)),
    ("title", models.CharField(max_length=50, unique=True)),
    ("body", models.TextField(null=True)),
    ("views", models.IntegerField(default=0)),
    ("embedding", models.VectorField(3, null=True)),
]


def fresh(*of: str, field: str = "embedding", name: str = "article_fresh") -> FreshVector:
    return FreshVector(field=field, of=of or ("title", "body"), name=name)


def articles(*fields: Any, **options: Any) -> Any:
    given = {"constraints": [fresh()], **options}
    return migrations.CreateModel("Article", [*FIELDS, *fields], given)


@pytest.fixture
def project(empty_database: Any) -> Project:
    index = VectorIndex(fields=["embedding"], name="article_vec", metric="l2")
    return Project(articles(indexes=[index]))


def make(project: Project, **values: Any) -> Any:
    return project.rows().create(**{"title": "a", "body": None, "embedding": OLD, **values})


def embedding(project: Project, field: str = "embedding") -> Any:
    return project.rows().values_list(field, flat=True).get()


def found(project: Project) -> list[Any]:
    return [row.pk for row in nearest(project.rows(), "embedding", OLD, k=5)]


class TestStatements:
    """Whoever writes, by whatever path: a change of a source that leaves the vector is seen."""

    def test_save(self, project: Project) -> None:
        article = make(project)
        article.views = 1
        article.save()
        assert embedding(project) == OLD
        article.title = "b"
        article.save()
        assert embedding(project) is None
        assert article.embedding == OLD  # the instance does not know
        article.refresh_from_db()
        assert article.embedding is None
        article.body, article.embedding = "text", NEW
        article.save()
        assert embedding(project) == NEW

    def test_save_of_some_fields(self, project: Project) -> None:
        article = make(project)
        article.title = "b"
        article.save(update_fields=["views"])
        assert embedding(project) == OLD
        article.save(update_fields=["title"])
        assert embedding(project) is None
        article.save(update_fields=["embedding"])
        assert embedding(project) == OLD  # taken as made of the title that is there

    def test_update(self, project: Project) -> None:
        make(project)
        project.rows().update(body=None, title="a", views=F("views") + 1)
        assert embedding(project) == OLD
        project.rows().update(body="text", embedding=NEW)
        assert embedding(project) == NEW
        project.rows().update(title=Upper("title"))
        assert embedding(project) is None

    def test_bulk_update(self, project: Project) -> None:
        first, second = make(project), make(project, title="b")
        first.title, second.embedding = "c", NEW
        project.rows().bulk_update([first, second], ["title", "embedding"])
        vectors = list(project.rows().order_by("pk").values_list("embedding", flat=True))
        assert vectors == [None, NEW]

    def test_upsert(self, project: Project) -> None:
        make(project)
        model = project.model()

        def upsert(fields: list[str], **values: Any) -> None:
            project.rows().bulk_create(
                [model(title="a", **values)],
                update_conflicts=True,
                unique_fields=["title"],
                update_fields=fields,
            )

        upsert(["views"], body="x", views=3)
        assert embedding(project) == OLD
        upsert(["body", "embedding"], body="x", embedding=NEW)
        assert embedding(project) == NEW
        upsert(["body", "embedding"], body="y", embedding=NEW)
        assert embedding(project) is None

    def test_update_or_create(self, project: Project) -> None:
        make(project)
        project.rows().update_or_create(title="a", defaults={"body": "x"})
        assert embedding(project) is None
        project.rows().update_or_create(title="a", defaults={"embedding": NEW})
        assert embedding(project) == NEW

    def test_raw_sql(self, project: Project) -> None:
        make(project)
        project.execute("UPDATE shop_article SET views = 7")
        assert embedding(project) == OLD
        project.execute("UPDATE shop_article SET body = 'x'")
        assert embedding(project) is None

    def test_the_same_vector_again_is_not_a_new_one(self, project: Project) -> None:
        make(project)
        project.rows().update(title="b", embedding=OLD)
        assert embedding(project) is None
        project.rows().update(embedding=OLD)
        assert embedding(project) == OLD

    def test_a_new_row_is_fresh(self, project: Project) -> None:
        make(project)
        assert embedding(project) == OLD

    def test_roll_back(self, project: Project) -> None:
        make(project)
        with project.atomic():
            project.rows().update(title="b")
            assert embedding(project) is None
            transaction.set_rollback(True, using="scratch")
        assert embedding(project) == OLD
        assert found(project)

    @pytest.mark.parametrize("bulk", [False, True])
    def test_searches(self, project: Project, bulk: bool) -> None:
        """What is NULL is not found, and the side table of an index does not keep it."""
        article = make(project)
        assert found(project) == [article.pk]
        article.title = "b"
        if bulk:
            project.rows().bulk_update([article], ["title", "embedding"])
        else:
            article.save()
        assert found(project) == []
        project.rows().update(embedding=NEW)
        assert found(project) == [article.pk]

    def test_index_made_after_the_constraint(self, project: Project) -> None:
        """Triggers of one statement run in no order that is promised."""
        project.run(migrations.RemoveIndex("article", "article_vec"))
        index = VectorIndex(fields=["embedding"], name="later_vec", metric="cosine")
        project.run(migrations.AddIndex("article", index))
        article = make(project)
        article.title = "b"
        article.save()
        assert found(project) == []
        assert side_table(project, "later_vec") in ([], None)

    def test_the_side_table_is_in_step(self, project: Project) -> None:
        article = make(project)
        article.title = "b"
        article.save()
        assert side_table(project, "article_vec") in ([], None)


def side_table(project: Project, name: str) -> Any:
    """The rows that a side table of SQLite's has; None where there is no such."""
    if project.engine != "sqlite":
        return None
    return project.execute(f'SELECT rowid FROM "{name}"')


class Sources:
    """Fields, with a value, one that is another, and one that is not."""

    day = datetime.date(2024, 2, 29)
    now = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("field", "before", "after"),
    [
        (models.TextField(null=True), "a", "A"),
        (models.TextField(null=True), "a", "a "),
        (models.TextField(null=True), "", None),
        (models.TextField(null=True), None, ""),
        (models.TextField(null=True), "e\u0301", "\xe9"),
        (models.CharField(max_length=9, null=True), "1", "01"),
        (models.IntegerField(null=True), 1, 2),
        (models.IntegerField(null=True), None, 0),
        (models.FloatField(null=True), 0.1, 0.1 + 2**-56),
        (models.FloatField(null=True), 1.0, None),
        (models.DecimalField(max_digits=9, decimal_places=2), decimal.Decimal("1.10"), 2),
        (models.BooleanField(null=True), None, False),
        (models.JSONField(null=True), {"a": [1]}, {"a": [2]}),
        (models.JSONField(null=True), {"a": 1}, None),
        (models.BinaryField(null=True), b"a", b"a\0"),
        (models.DateField(null=True), Sources.day, None),
        (models.DateTimeField(), Sources.now, Sources.now + datetime.timedelta(microseconds=1)),
        (models.DurationField(), datetime.timedelta(1), datetime.timedelta(2)),
        (models.VectorField(2, null=True), [1, 2], [2, 1]),
    ],
)
def test_sources(empty_database: Any, field: Any, before: Any, after: Any) -> None:
    constraint = fresh("body", "source")
    project = Project(articles(("source", field), constraints=[constraint]))
    make(project, source=before)
    project.rows().update(source=before, title="b")
    assert embedding(project) == OLD
    project.rows().update(source=after)
    assert embedding(project) is None


class CIText(models.TextField):
    """Text to which 'a' is 'A'."""

    def db_parameters(self, connection: Any) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters = {**parameters, "type": "citext", "collation": None}
        return parameters


class TestTables:
    def test_collation(self, empty_database: Any) -> None:
        """'a' is 'A' to the column, and not to who computes a vector of it."""
        extensions = []
        if empty_database.vendor == "postgresql":
            extensions = [CITextExtension()]
        source = CIText(default="", db_collation="nocase")
        project = Project(*extensions, articles(("source", source), constraints=[fresh("source")]))
        make(project, source="a")
        assert project.rows().filter(source="A").exists()
        project.rows().update(source="A")
        assert embedding(project) is None

    def test_foreign_key(self, project: Project) -> None:
        author = [("id", models.AutoField(primary_key=True))]
        project.run(migrations.CreateModel("Author", author))
        key = models.ForeignKey("shop.Author", models.CASCADE, null=True)
        project.run(migrations.AddField("article", "author", key))
        project.run(migrations.AddConstraint("article", fresh("author", name="by_author")))
        for name in ("author", "writer"):
            first, second = (project.rows("author").create() for _ in range(2))
            article = make(project, title=name, **{name: first})
            setattr(article, name, second)
            article.save()
            assert project.rows().get(pk=article.pk).embedding is None
            article = make(project, title=f"{name}s", **{name: first})
            first.delete()
            if name == "author":
                project.run(migrations.RenameField("article", "author", "writer"))

    @pytest.mark.parametrize("persist", [True, False])
    def test_generated(self, empty_database: Any, persist: bool) -> None:
        """What counts is what the database computes, not what it computes it from."""
        if not persist and not empty_database.features.supports_virtual_generated_columns:
            pytest.skip("This Django has no supports_virtual_generated_columns.")
        source = models.GeneratedField(
            expression=Lower(Left("title", 3)),
            output_field=models.TextField(),
            db_persist=persist,
        )
        project = Project(articles(("source", source), constraints=[fresh("source")]))
        make(project, title="Anna")
        project.rows().update(title="ANNABEL")
        assert embedding(project) == OLD
        project.rows().update(title="Hannah")
        assert embedding(project) is None

    @pytest.mark.parametrize("key", ["text", "composite"])
    def test_keys(self, empty_database: Any, key: str) -> None:
        fields = [each for each in FIELDS if each[0] != "id"]
        if key == "text":
            fields += [("id", models.CharField(max_length=9, primary_key=True))]
        else:
            fields += [
                ("pk", CompositePrimaryKey("shelf", "number")),
                ("shelf", models.IntegerField(default=1)),
            ]
            fields += [("number", models.IntegerField(default=1))]
        project = Project(migrations.CreateModel("Article", fields, {"constraints": [fresh()]}))
        keys = [{"id": "a"}, {"id": "b"}] if key == "text" else [{}, {"number": 2}]
        first, second = (make(project, title=str(each), **each) for each in keys)
        project.rows().filter(title=first.title).update(title="new")
        vectors = dict(project.rows().values_list("title", "embedding"))
        assert vectors == {"new": None, second.title: OLD}

    def test_a_key_that_is_a_source(self, empty_database: Any) -> None:
        project = Project(articles(constraints=[fresh("id")]))
        article = make(project)
        project.rows().filter(pk=article.pk).update(id=99)
        assert embedding(project) is None

    def test_odd_names(self, empty_database: Any) -> None:
        """Quotes and words of SQL; Django itself has no room for percent signs."""
        name = "it's \u00e9 fresh"
        options = {"db_table": "The 'Table'", "constraints": [fresh("t", field="v", name=name)]}
        fields = [
            ("id", models.BigAutoField(primary_key=True, db_column="rowid")),
            ("t", models.TextField(db_column="select 'x'")),
            ("v", models.VectorField(3, null=True, db_column="NEW")),
        ]
        project = Project(migrations.CreateModel("Article", fields, options))
        project.rows().create(t="a", v=OLD)
        project.run(migrations.AddField("article", "n", models.TextField(default="n")))
        project.rows().update(t="b", n="m")
        assert embedding(project, "v") is None
        project.run(migrations.RenameField("article", "t", "u"))
        project.rows().update(v=OLD)
        project.rows().update(u="c")
        assert embedding(project, "v") is None
        project.run(migrations.RemoveConstraint("article", name))
        assert project.triggers() == []

    def test_several(self, empty_database: Any) -> None:
        """Two vectors of one source, and one of another vector."""
        vectors = [("second", models.VectorField(2, null=True))]
        vectors += [("half", models.HalfVectorField(3, null=True))]
        constraints = [
            fresh("title", name="a_first"),
            fresh("title", field="second", name="b_second"),
            fresh("embedding", field="half", name="c_half"),
        ]
        names = ("embedding", "second", "half")
        project = Project(articles(*vectors, constraints=constraints))
        make(project, second=[1, 2], half=[1, 2, 3])
        project.rows().update(title="b")
        assert project.rows().values_list(*names).get() == (None, None, None)

    def test_other_constraints(self, empty_database: Any) -> None:
        check = models.CheckConstraint(
            condition=Q(embedding__isnull=False) | Q(views=0), name="embedded"
        )
        project = Project(articles(constraints=[fresh(), check]))
        make(project, views=1)
        with pytest.raises(IntegrityError):
            project.rows().update(title="b")
        assert embedding(project) == OLD
        project.rows().update(title="b", views=0)
        assert embedding(project) is None

    @pytest.mark.parametrize("kind", ["halfvec", "bit"])
    def test_other_kinds(self, empty_database: Any, kind: str) -> None:
        field, value = {
            "halfvec": (models.HalfVectorField(3, null=True), [1.5, 2, 3]),
            "bit": (models.BitField(length=3, null=True), "101"),
        }[kind]
        constraint = fresh("title", field="signs")
        project = Project(articles(("signs", field), constraints=[constraint]))
        article = make(project, signs=value)
        article.save()
        assert embedding(project, "signs") == value
        article.title = "b"
        article.save()
        assert embedding(project, "signs") is None
