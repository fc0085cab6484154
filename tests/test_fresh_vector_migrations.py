"""FreshVector as a declaration, and its trigger through every change of its table."""

from __future__ import annotations

import contextlib
import copy
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.apps.registry import Apps
from django.core import checks
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import NotSupportedError, ProgrammingError, connections, migrations
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteEditor
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter

import dorm_vector
from dorm_vector import FreshVector, VectorIndex, models
from dorm_vector.checks import check_freshness
from tests.support.migrating import Project
from tests.testapp.models import Item

OLD, NEW = [1, 2, 3], [4, 5, 6]
NAME = "article_fresh"


def declared() -> list[tuple[str, Any]]:
    return [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=50)),
        ("body", models.TextField(null=True)),
        ("embedding", models.VectorField(3, null=True)),
    ]


def fresh(*of: str, field: str = "embedding", name: str = NAME) -> FreshVector:
    return FreshVector(field=field, of=of or ("title", "body"), name=name)


@pytest.fixture
def project(empty_database: Any) -> Project:
    """A table with the constraint and a row."""
    indexes = [VectorIndex(fields=["embedding"], name="article_vec", metric="l2")]
    options = {"constraints": [fresh()], "indexes": indexes}
    project = Project(migrations.CreateModel("Article", declared(), options))
    project.rows().create(title="a", embedding=OLD)
    return project


def embedding(project: Project, name: str = "article") -> Any:
    return project.rows(name).values_list("embedding", flat=True).get()


def is_fresh(project: Project, field: str = "title", name: str = "article") -> bool:
    """Whether the vector becomes NULL as the text changes, and at no other time."""
    rows = project.rows(name)
    rows.update(embedding=NEW)
    kept = embedding(project, name)
    rows.update(**{field: "changed"})
    changed = embedding(project, name)
    rows.update(**{field: "a"})
    return (kept, changed) == (NEW, None)


def made(project: Project, *names: str) -> list[str]:
    """What there is of constraints of these names, as ``triggers()`` lists it."""
    if project.engine == "postgresql":
        return sorted([*names, *(f"{name}()" for name in names)])
    return sorted(names)


def triggers(project: Project) -> list[str]:
    return [name for name in project.triggers() if not name.startswith("article_vec")]


class TestDeclaration:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"name": ""}, "FreshVector needs a name, without quotation marks or NUL, not ''."),
            (
                {"name": 'a"b'},
                "FreshVector needs a name, without quotation marks or NUL, not 'a\"b'.",
            ),
            (
                {"of": "title"},
                "FreshVector(name='f') takes a list of field names as of=, not 'title'.",
            ),
            ({"of": []}, "FreshVector(name='f') takes a list of field names as of=, not ()."),
            (
                {"of": [None]},
                "FreshVector(name='f') takes a list of field names as of=, not (None,).",
            ),
            ({"of": ["a", "b", "a"]}, "FreshVector(name='f') names 'a' twice in of."),
            ({"of": ["v"]}, "FreshVector(name='f') has 'v' among its own sources."),
            ({"field": ""}, "FreshVector(name='f') takes the name of a field, not ''."),
        ],
    )
    def test_refused_in_one_sentence(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            FreshVector(**{"field": "v", "of": ["a"], "name": "f", **given})

    def test_exported(self) -> None:
        assert dorm_vector.FreshVector is models.FreshVector is FreshVector

    def test_deconstruct(self) -> None:
        path, args, kwargs = fresh().deconstruct()
        assert path == "dorm_vector.constraints.FreshVector"
        assert (args, kwargs) == (
            (),
            {"field": "embedding", "of": ["title", "body"], "name": NAME},
        )
        assert fresh().clone() == fresh()

    def test_written_migration(self) -> None:
        text, imports = MigrationWriter.serialize(fresh())
        assert text == (
            "dorm_vector.constraints.FreshVector(field='embedding', name='article_fresh', "
            "of=['title', 'body'])"
        )
        assert imports == {"import dorm_vector.constraints"}

    def test_copies_and_comparisons(self) -> None:
        for copied in (copy.deepcopy(fresh()), pickle.loads(pickle.dumps(fresh()))):
            assert copied == fresh()
            assert hash(copied) == hash(fresh())
        assert fresh() != fresh("body", "title")
        assert fresh() != fresh(name="other")
        assert fresh() != models.CheckConstraint(condition=models.Q(id=1), name=NAME)
        assert repr(fresh()) == (
            "<FreshVector: field='embedding' of=['title', 'body'] name='article_fresh'>"
        )

    def test_validates_nothing(self) -> None:
        assert fresh().validate(Item, Item()) is None

    def test_abstract(self) -> None:
        registry = Apps()

        class Base(models.Model):
            title = models.TextField()
            embedding = models.VectorField(3, null=True)

            class Meta:
                abstract = True
                app_label = "shop"
                apps = registry
                constraints = [fresh("title", name="%(app_label)s_%(class)s_fresh")]

        class Doc(Base):
            class Meta(Base.Meta):
                apps = registry

        assert [each.name for each in Doc._meta.constraints] == ["shop_doc_fresh"]
        assert Doc._meta.constraints[0].misfit(Doc) is None
        Doc(title="x").validate_constraints()


class TestMisfits:
    """What the declaration alone cannot know."""

    def sentence(self, constraint: FreshVector, **fields: Any) -> str | None:
        registry = Apps()

        class Page(models.Model):
            slug = models.TextField()

            class Meta:
                app_label = "shop"
                apps = registry

        names = {**dict(declared()[1:]), **fields, "__module__": __name__}
        meta = {"app_label": "shop", "apps": registry}
        model = type("Article", (Page,), {**names, "Meta": type("Meta", (), meta)})
        return constraint.misfit(model)

    @pytest.mark.parametrize(
        ("constraint", "message"),
        [
            (fresh("text"), "Article.text does not exist."),
            (fresh(field="vector"), "Article.vector does not exist."),
            (fresh("title", field="body"), "Article.body holds no vectors."),
            (fresh("slug"), "Article.slug is in another table, that of shop.Page."),
            (fresh("authors"), "Article.authors has no column."),
            (
                fresh("other_id"),
                "Article.other_id is a column; name its field, 'other'.",
            ),
            (
                fresh(field="needed"),
                "Article.needed cannot become NULL when its sources change; add null=True.",
            ),
        ],
    )
    def test_sentences(self, constraint: FreshVector, message: str) -> None:
        fields = {
            "needed": models.VectorField(3),
            "authors": models.ManyToManyField("shop.Page", related_name="+"),
            "other": models.ForeignKey("shop.Page", models.CASCADE, related_name="+"),
        }
        given = {name: field.clone() for name, field in fields.items()}
        assert self.sentence(constraint, **given) == f"FreshVector 'article_fresh': {message}"

    def test_names(self) -> None:
        name = 32 * "\xe9"
        assert self.sentence(fresh(name=name)) == (
            f"The name {name!r} of a FreshVector is over 63 bytes long."
        )
        assert self.sentence(fresh(name=name[1:])) is None

    def test_check(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Item._meta, "constraints", [fresh("text", name="f")])
        (message,) = check_freshness()
        assert message.id == "dorm_vector.E121"
        assert message.obj is Item
        assert message.msg == "FreshVector 'f': Item.text does not exist."
        assert check_freshness([apps.get_app_config("auth")]) == []

    @pytest.mark.django_db(databases="__all__")
    def test_a_check_of_databases_says_it_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Django asks the constraint for each of them; without names 6.1 asks for all of them."""
        monkeypatch.setattr(Item._meta, "constraints", [fresh("text", name="f")])
        every = list(connections)
        assert len(every) > 2
        for databases in (None, [], every, every[::-1], *([alias] for alias in every)):
            found = checks.run_checks(databases=databases, tags=["models"])
            messages = [message.msg for message in found if message.id == "dorm_vector.E121"]
            assert messages == ["FreshVector 'f': Item.text does not exist."], databases

    def test_a_vector_of_a_vector_comes_after_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = fresh("title", name="b")
        names = {**dict(declared()[1:]), "half": models.HalfVectorField(3, null=True)}
        meta = {"app_label": "shop", "apps": Apps()}
        model = type(
            "Doc",
            (models.Model,),
            {**names, "__module__": __name__, "Meta": type("Meta", (), meta)},
        )
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda: [model])
        for name, expected in (
            ("c", []),
            (
                "a",
                [
                    "FreshVector 'a' reads 'embedding', which 'b' makes NULL, and triggers run in "
                    "the order of their names: give it one after 'b'."
                ],
            ),
        ):
            model._meta.constraints = [first, fresh("embedding", field="half", name=name)]
            assert [message.msg for message in check_freshness()] == expected

    def test_migrate_refuses_the_same(self, project: Project) -> None:
        with pytest.raises(FieldError) as caught:
            project.run(migrations.AddConstraint("article", fresh("text", name="more")))
        assert str(caught.value) == "FreshVector 'more': Article.text does not exist."
        assert triggers(project) == made(project, NAME)

    def test_an_editor_that_does_not_know_it(self) -> None:
        editor = Plain(connections["default"], collect_sql=True)
        constraint = fresh("name")
        for run in (constraint.create_sql, constraint.remove_sql, constraint.constraint_sql):
            with pytest.raises(ImproperlyConfigured) as caught:
                run(Item, editor)
            assert str(caught.value) == (
                "The schema editor Plain does not know FreshVector: add 'dorm_vector' to "
                "INSTALLED_APPS, or open the connection before its schema editor."
            )


class Plain(SQLiteEditor):
    """An editor of a backend that the app has not met."""


class TestAutodetector:
    def changes(self, before: ProjectState, after: ProjectState, **answers: Any) -> list[Any]:
        detector = MigrationAutodetector(before, after)
        for name, answer in answers.items():
            setattr(detector.questioner, name, lambda *args, given=answer: given)
        found = detector._detect_changes()
        return [operation for (migration,) in found.values() for operation in migration.operations]

    def state(self, *constraints: Any, fields: Any = None) -> ProjectState:
        state = ProjectState()
        state.add_model(
            ModelState("shop", "Article", fields or declared(), {"constraints": list(constraints)})
        )
        return state

    def test_no_change(self) -> None:
        assert self.changes(self.state(fresh()), self.state(fresh())) == []

    def test_added_altered_and_removed(self) -> None:
        (added,) = self.changes(self.state(), self.state(fresh()))
        assert isinstance(added, migrations.AddConstraint)
        removed, added = self.changes(self.state(fresh()), self.state(fresh("title")))
        assert isinstance(removed, migrations.RemoveConstraint)
        assert added.constraint.of == ("title",)
        (removed,) = self.changes(self.state(fresh()), self.state())
        assert removed.name == NAME

    def test_renamed_and_removed_fields(self, project: Project) -> None:
        """What is detected runs as it is."""
        fields = [("headline" if name == "title" else name, field) for name, field in declared()]
        after = self.state(fresh("headline", "body"), fields=fields)
        after.models["shop", "article"].options["indexes"] = project.model()._meta.indexes
        for operation in self.changes(project.state, after, ask_rename=True):
            project.run(operation)
        assert is_fresh(project, "headline")
        before, after = after, after.clone()
        without = after.models["shop", "article"]
        del without.fields["body"]
        without.options["constraints"] = [fresh("headline")]
        for operation in self.changes(before, after):
            project.run(operation)
        assert is_fresh(project, "headline")
        assert triggers(project) == made(project, NAME)


class TestMigrations:
    def test_add_twice_and_remove_twice(self, project: Project) -> None:
        removal = migrations.RemoveConstraint("article", NAME)
        for _ in range(2):
            project.run(removal)
            assert triggers(project) == []
            assert not is_fresh(project)
            project.undo(removal)
            assert triggers(project) == made(project, NAME)
            assert is_fresh(project)
        addition = migrations.AddConstraint("article", fresh("body", name="by_body"))
        for _ in range(2):
            project.run(addition)
            assert triggers(project) == made(project, NAME, "by_body")
            project.undo(addition)
            assert triggers(project) == made(project, NAME)

    @pytest.mark.parametrize(
        "operation",
        [
            migrations.AddField("article", "note", models.TextField(default="none")),
            migrations.AddField("article", "note", models.TextField(null=True)),
            migrations.AlterField("article", "title", models.CharField(max_length=90)),
            migrations.AlterField("article", "title", models.TextField(null=True, unique=True)),
            migrations.AlterField("article", "title", models.TextField(db_column="it's")),
            migrations.AlterField("article", "body", models.TextField(default="x")),
            migrations.AlterField(
                "article", "embedding", models.VectorField(3, null=True, default=NEW)
            ),
            migrations.AlterField(
                "article", "embedding", models.VectorField(3, null=True, db_column="v v")
            ),
            migrations.AlterField("article", "id", models.AutoField(primary_key=True)),
            migrations.AlterModelTable("article", "Odd 'table'"),
            migrations.AddConstraint(
                "article", models.CheckConstraint(condition=models.Q(id__gt=0), name="positive")
            ),
            migrations.AlterUniqueTogether("article", {("id", "title")}),
            migrations.RemoveIndex("article", "article_vec"),
            migrations.SeparateDatabaseAndState(
                state_operations=[migrations.AlterModelOptions("article", {"ordering": ["id"]})]
            ),
        ],
        ids=lambda operation: operation.describe(),
    )
    def test_other_changes(self, project: Project, operation: Any) -> None:
        for run in (project.run, project.undo):
            run(operation)
            assert triggers(project) == made(project, NAME)
            assert is_fresh(project)

    def test_sessions_that_have_run_the_trigger_before(self, project: Project) -> None:
        """A function remembers the types of columns."""
        for field in (models.TextField(), models.CharField(max_length=9), models.TextField()):
            assert is_fresh(project)
            project.run(migrations.AlterField("article", "title", field))
        assert is_fresh(project)

    def test_renamed_model(self, project: Project) -> None:
        project.run(migrations.RenameModel("Article", "Paper"))
        assert is_fresh(project, name="paper")
        assert triggers(project) == made(project, NAME)

    def test_renamed_fields(self, project: Project) -> None:
        """By hand, with the constraint left as it is: Django keeps its old names in the state."""
        renames = [
            migrations.RenameField("article", "title", "headline"),
            migrations.RenameField("article", "body", "new"),
        ]
        for operation in renames:
            project.run(operation)
        assert is_fresh(project, "headline")
        assert is_fresh(project, "new")
        change = migrations.AlterField("article", "headline", models.CharField(max_length=70))
        project.run(change)
        assert is_fresh(project, "headline")
        project.undo(change)
        for operation in reversed(renames):
            project.undo(operation)
        assert is_fresh(project)
        assert triggers(project) == made(project, NAME)

    def test_fields_that_change_their_names(self, project: Project) -> None:
        """By a third name; on SQLite the table is rebuilt for one of them, that of a relation."""
        author = [("id", models.AutoField(primary_key=True))]
        project.run(migrations.CreateModel("Author", author))
        key = models.ForeignKey("shop.Author", models.CASCADE, null=True)
        project.run(migrations.AddField("article", "author", key))
        project.run(migrations.RemoveConstraint("article", NAME))
        project.run(migrations.AddConstraint("article", fresh("title", "author")))
        renames = [
            migrations.RenameField("article", "title", "other"),
            migrations.RenameField("article", "author", "title"),
            migrations.RenameField("article", "other", "author"),
        ]
        for operation in renames:
            assert project.sql(operation)
            project.run(operation)
        rows = project.rows()
        for change in ({"author": "new text"}, {"title": project.rows("author").create()}):
            rows.update(embedding=NEW)
            rows.update(**change)
            assert embedding(project) is None
        for operation in reversed(renames):
            project.undo(operation)
        assert is_fresh(project)
        assert triggers(project) == made(project, NAME)

    def test_a_key_renamed_twice(self, project: Project) -> None:
        """Relations are renamed by a table that is rebuilt."""
        author = [("id", models.AutoField(primary_key=True))]
        project.run(migrations.CreateModel("Author", author))
        key = models.ForeignKey("shop.Author", models.CASCADE, null=True)
        project.run(migrations.AddField("article", "author", key))
        project.run(migrations.RemoveConstraint("article", NAME))
        project.run(migrations.AddConstraint("article", fresh("author")))
        for old, new in (("author", "writer"), ("writer", "person")):
            project.run(migrations.RenameField("article", old, new))
            project.rows().update(**{new: None, "embedding": NEW})
            project.rows().update(**{new: project.rows("author").create()})
            assert embedding(project) is None
        assert triggers(project) == made(project, NAME)

    def test_removed_fields(self, project: Project) -> None:
        for name in ("title", "embedding"):
            with pytest.raises(NotSupportedError) as caught:
                project.run(migrations.RemoveField("article", name))
            assert str(caught.value) == (
                f"Article.{name} cannot be removed while the constraint 'article_fresh' reads it: "
                "remove the constraint first."
            )
        assert is_fresh(project)

    def test_fields_that_do_not_fit_any_more(self, project: Project) -> None:
        for field, message in (
            (
                models.VectorField(3, default=OLD),
                "cannot become NULL when its sources change; add null=True.",
            ),
            (models.TextField(null=True), "holds no vectors."),
        ):
            with pytest.raises(FieldError) as caught:
                project.run(migrations.AlterField("article", "embedding", field))
            message = f"FreshVector 'article_fresh': Article.embedding {message}"
            assert str(caught.value) == message
        assert is_fresh(project)

    def test_deleted_model(self, project: Project) -> None:
        deletion = migrations.DeleteModel("article")
        project.run(deletion)
        assert project.triggers() == []
        project.undo(deletion)
        project.rows().create(title="a", embedding=OLD)
        assert is_fresh(project)

    def test_in_one_migration_with_its_table(self, empty_database: Any) -> None:
        """Statements that wait for their table follow its changes."""
        project = Project()
        state = project.state.clone()
        with project.connection.schema_editor() as editor:
            for operation in (
                migrations.CreateModel("Article", declared(), {"constraints": [fresh()]}),
                migrations.RenameField("article", "body", "text"),
                migrations.AlterField("article", "title", models.TextField(db_column="t t")),
                migrations.AlterModelTable("article", "papers"),
            ):
                before = state.clone()
                operation.state_forwards("shop", state)
                operation.database_forwards("shop", editor, before, state)
        project.states.append(state)
        project.rows().create(title="a", embedding=OLD)
        assert is_fresh(project)
        assert is_fresh(project, "text")

    def test_rolled_back(self, project: Project) -> None:
        def fail(*args: Any) -> None:
            raise ZeroDivisionError

        removal = migrations.RemoveConstraint("article", NAME)
        operation = Together([removal, migrations.RunPython(fail)])
        with pytest.raises(ZeroDivisionError):
            project.run(operation)
        assert triggers(project) == made(project, NAME)
        assert is_fresh(project)

    @pytest.mark.parametrize("atomic", [True, False])
    def test_atomic_or_not(self, project: Project, atomic: bool) -> None:
        removal = migrations.RemoveConstraint("article", NAME)
        project.run(removal, atomic=atomic)
        project.undo(removal, atomic=atomic)
        assert is_fresh(project)

    def test_introspection_sees_no_constraint(self, project: Project) -> None:
        with project.connection.cursor() as cursor:
            found = project.connection.introspection.get_constraints(cursor, "shop_article")
        assert NAME not in found

    def test_flush(self, project: Project) -> None:
        statements = project.connection.ops.sql_flush(no_style, ["shop_article"])
        project.connection.ops.execute_sql_flush(statements)
        project.rows().create(title="a", embedding=OLD)
        assert is_fresh(project)


no_style: Any = type("Style", (), {"__getattr__": lambda self, name: str})()


class Together(migrations.SeparateDatabaseAndState):
    """Several operations as one."""

    def __init__(self, operations: list[Any]) -> None:
        super().__init__(operations, operations)


class TestSQL:
    def test_sqlmigrate(self, project: Project) -> None:
        addition = migrations.AddConstraint("article", fresh(name="more"))
        removal = migrations.RemoveConstraint("article", NAME)
        if project.engine == "postgresql":
            create, drop = POSTGRESQL
        else:
            create, drop = SQLITE
        assert project.sql(addition) == create
        assert project.sql(removal) == drop
        assert triggers(project) == made(project, NAME)

    def test_what_sqlmigrate_shows_works(self, project: Project) -> None:
        removal = migrations.RemoveConstraint("article", NAME)
        for statement in project.sql(removal):
            project.execute(statement)
        assert triggers(project) == []
        for statement in project.sql(migrations.AddConstraint("article", fresh())):
            project.execute(statement)
        assert is_fresh(project)


SQLITE = (
    [
        'CREATE TRIGGER "more" /* dorm_vector */ AFTER UPDATE OF "title", "body" ON "shop_article" '
        'WHEN (NEW."title" COLLATE BINARY IS NOT OLD."title" OR '
        'NEW."body" COLLATE BINARY IS NOT OLD."body") '
        'AND NEW."embedding" IS NOT NULL AND NEW."embedding" IS OLD."embedding" '
        'BEGIN UPDATE "shop_article" SET "embedding" = NULL WHERE "id" = NEW."id"; END;'
    ],
    ['DROP TRIGGER IF EXISTS "article_fresh";'],
)
POSTGRESQL = (
    [
        'CREATE FUNCTION "more"() RETURNS trigger LANGUAGE plpgsql AS \'\n'
        "BEGIN -- dorm_vector\n"
        '    IF record_image_ne(ROW(NEW."title", NEW."body"), ROW(OLD."title", OLD."body"))\n'
        '    AND record_image_eq(ROW(NEW."embedding"), ROW(OLD."embedding")) THEN\n'
        '        NEW."embedding" := NULL;\n'
        "    END IF;\n"
        "    RETURN NEW;\n"
        "END\n"
        "';",
        'CREATE TRIGGER "more" BEFORE UPDATE ON "shop_article" FOR EACH ROW '
        'EXECUTE FUNCTION "more"();',
    ],
    [
        'DROP TRIGGER IF EXISTS "article_fresh" ON "shop_article";',
        'DROP FUNCTION IF EXISTS "article_fresh"();',
    ],
)


class TestForeignNames:
    """Nothing is dropped or replaced that others have made."""

    def refuse(self, project: Project, operation: Any, kind: str, name: str = "other") -> None:
        with pytest.raises(ProgrammingError) as caught:
            project.run(operation)
        assert str(caught.value) == (
            f"The constraint {name!r} of the table 'shop_article' needs that name, but the "
            f"database 'scratch' has a {kind} of that name that dorm_vector did not make: rename "
            "one "
            "of them."
        )

    def test_triggers(self, project: Project) -> None:
        if project.engine == "postgresql":
            project.execute(
                "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
            )
            action = "FOR EACH ROW EXECUTE FUNCTION own()"
        else:
            action = "BEGIN SELECT 1; END"
        project.execute(f"CREATE TRIGGER other BEFORE UPDATE ON shop_article {action}")
        before = project.triggers()
        addition = migrations.AddConstraint("article", fresh(name="other"))
        self.refuse(project, addition, "trigger")
        migration = migrations.SeparateDatabaseAndState(state_operations=[addition])
        project.run(migration)  # as if it had been made
        self.refuse(project, migrations.RemoveConstraint("article", "other"), "trigger")
        assert project.triggers() == before


class TestTriggersOfIndexes:
    """They bear the mark as well, and are none of the constraint's."""

    def test_their_names(self, project: Project) -> None:
        if_there = [name for name in project.triggers() if name == "article_vec_update"]
        addition = migrations.AddConstraint("article", fresh("title", name="article_vec_update"))
        expected = [] if project.engine == "postgresql" else ["article_vec_update"]
        assert if_there == expected
        with refused(bool(if_there)):
            project.run(addition)
        assert is_fresh(project)


@contextlib.contextmanager
def refused(expected: bool) -> Iterator[None]:
    """A block that is refused for the name of a trigger, where that is ``expected``."""
    if not expected:
        yield
        return
    with pytest.raises(ProgrammingError) as caught:
        yield
    assert str(caught.value) == (
        "The constraint 'article_vec_update' of the table 'shop_article' needs that name, but the "
        "database 'scratch' has a trigger of that name that dorm_vector did not make: rename one "
        "of "
        "them."
    )
