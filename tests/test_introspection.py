"""``inspectdb``, table names and constraints where there are vectors and their indexes."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.apps import AppConfig, apps
from django.core.management import call_command
from django.db import connections
from django.db.models import Model, Q
from django.test.utils import isolate_apps

from dorm_vector import HnswIndex, IvfflatIndex, TextIndex, VectorIndex, matching, models, nearest
from dorm_vector.engines import engine_for
from dorm_vector.testing import explain_nearest

ENGINES = ["postgresql", "sqlite", "libsql"]
# The arguments of the fields that an engine writes, by the name of the field.
FIELDS: dict[str, dict[str, str]] = {
    "plain": {"VectorField": "db_column='odd name', dimensions=3"},
    "wide": {"VectorField": "dimensions=300, blank=True, null=True"},
    "half": {"HalfVectorField": "dimensions=5"},
    "bits": {"BitField": "length=13"},
    "bytes": {"BitField": "length=16, blank=True, null=True"},
}
SPARSE = {"sparse": {"SparseVectorField": "dimensions=1000, blank=True, null=True"}}


def declare(engine: str) -> Any:
    class Thing(Model):
        plain = models.VectorField(3, db_column="odd name")
        wide = models.VectorField(300, null=True)
        half = models.HalfVectorField(5)
        bits = models.BitField(13)
        bytes = models.BitField(16, null=True)
        note = models.BinaryField()
        if engine == "postgresql":
            sparse = models.SparseVectorField(1000, null=True)

        class Meta:
            app_label = "shop"
            db_table = "shop_thing"
            indexes = indexes(engine)

    return Thing


def indexes(engine: str) -> list[Any]:
    found: list[Any] = [
        VectorIndex(fields=["plain"], name="plain_l2"),
        VectorIndex(fields=["wide"], name="wide_cosine", metric="cosine"),
    ]
    if engine == "sqlite":
        found += [
            VectorIndex(fields=["wide"], name="wide_bit", metric="cosine", precision="bit"),
            VectorIndex(fields=["wide"], name="wide_prefix", metric="l2", prefix=32),
        ]
    if engine == "libsql":
        found += [
            VectorIndex(
                fields=["half"], name="half_l2", metric="l2", max_neighbors=9, alpha=1.5,
                compress_neighbors="float16",
            )
        ]  # fmt: skip
    if engine == "postgresql":
        found += [
            HnswIndex(fields=["wide"], name="wide_half", metric="ip", m=8, precision="half"),
            HnswIndex(fields=["wide"], name="wide_bit", metric="cosine", precision="bit"),
            HnswIndex(fields=["plain"], name="plain_bit", metric="cosine", precision="bit"),
            HnswIndex(fields=["wide"], name="wide_prefix", metric="l2", prefix=32),
            HnswIndex(fields=["bits"], name="bits_jaccard", metric="jaccard"),
            HnswIndex(
                fields=["half"], name="half_some", metric="l2", condition=Q(wide__isnull=True)
            ),
            IvfflatIndex(fields=["half"], name="half_lists", metric="cosine", lists=7),
        ]
    return found


# What inspectdb writes of the indexes.
WRITTEN = {
    "sqlite": {
        "VectorIndex(name='plain_l2', fields=['plain'], metric='l2')",
        "VectorIndex(name='wide_cosine', fields=['wide'], metric='cosine')",
        "VectorIndex(name='wide_bit', fields=['wide'], metric='cosine', precision='bit')",
        "VectorIndex(name='wide_prefix', fields=['wide'], metric='l2', prefix=32)",
    },
    "libsql": {
        "VectorIndex(name='plain_l2', fields=['plain'], metric='l2', max_neighbors=20, "
        "compress_neighbors='float8', alpha=1.0)",
        "VectorIndex(name='wide_cosine', fields=['wide'], metric='cosine', max_neighbors=20, "
        "compress_neighbors='float8', alpha=1.0)",
        "VectorIndex(name='half_l2', fields=['half'], metric='l2', max_neighbors=9, "
        "compress_neighbors='float16', alpha=1.5)",
    },
    "postgresql": {
        "HnswIndex(name='plain_l2', fields=['plain'], metric='l2')",
        "HnswIndex(name='wide_cosine', fields=['wide'], metric='cosine')",
        "HnswIndex(name='wide_half', fields=['wide'], metric='ip', precision='half', m=8)",
        "HnswIndex(name='wide_bit', fields=['wide'], metric='cosine', precision='bit')",
        "HnswIndex(name='plain_bit', fields=['plain'], metric='cosine', precision='bit')",
        "HnswIndex(name='wide_prefix', fields=['wide'], metric='l2', prefix=32)",
        "HnswIndex(name='bits_jaccard', fields=['bits'], metric='jaccard')",
        "IvfflatIndex(name='half_lists', fields=['half'], metric='cosine', lists=7)",
    },
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connection(engine: str, open_database: Any, request: Any, tmp_path: Any) -> Any:
    if engine == "postgresql":
        made = request.getfixturevalue("scratch")()
        with made.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
        return made
    return open_database({"sqlite": "default"}.get(engine, engine), NAME=str(tmp_path / "db"))


@pytest.fixture
def thing(engine: str, connection: Any) -> Iterator[Any]:
    """A model with a column of each kind and its indexes, in the database."""
    with isolate_apps("tests.testapp"):
        model = declare(engine)
        with connection.schema_editor() as editor:
            editor.create_model(model)
        yield model


def inspected(*arguments: str) -> str:
    output = StringIO()
    call_command("inspectdb", *arguments, database="scratch", stdout=output)
    return output.getvalue()


def loaded(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model of what inspectdb wrote, in an app of its own."""
    module = types.ModuleType("inspected_app.models")
    monkeypatch.setitem(sys.modules, "inspected_app", types.ModuleType("inspected_app"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = text.replace("class Meta:", 'class Meta:\n        app_label = "inspected"')
    exec(compile(source, module.__name__, "exec"), module.__dict__)
    return module.ShopThing  # type: ignore[attr-defined]


class TestInspectdb:
    def test_fields(self, thing: Any, engine: str) -> None:
        lines = [line.strip() for line in inspected("shop_thing").splitlines()]
        fields = {**FIELDS, **(SPARSE if engine == "postgresql" else {})}
        for name, ((field, arguments),) in ((name, kw.items()) for name, kw in fields.items()):
            start = f"= dorm_vector.fields.{field}({arguments})"
            found = [line.partition(" ") for line in lines if start in line]
            assert len(found) == 1, (name, lines)
            if name != "plain":
                assert found[0][0] == name

    def test_bytes_that_hold_no_vectors(self, thing: Any) -> None:
        assert "    note = models.BinaryField()" in inspected("shop_thing").splitlines()

    def test_indexes(self, thing: Any, engine: str) -> None:
        text = inspected("shop_thing").replace("fields=['odd_name']", "fields=['plain']")
        written = {
            line.strip().removeprefix("dorm_vector.indexes.").removesuffix(",")
            for line in text.splitlines()
            if "dorm_vector.indexes." in line and not line.startswith("import")
        }
        assert written == WRITTEN[engine]

    def test_partial_index(self, thing: Any, engine: str) -> None:
        notes = [
            line for line in inspected("shop_thing").splitlines() if "The vector index" in line
        ]
        partial = ["    # The vector index 'half_some' is partial."]
        assert notes == (partial if engine == "postgresql" else [])

    def test_models_can_be_searched(
        self, thing: Any, engine: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(5)
        vectors = rng.normal(size=(50, 300)).astype("f4")
        thing.objects.using("scratch").bulk_create(
            thing(plain=[i, 0, 1], wide=vector, half=[i] * 5, bits="1" * 13, note=b"\0" * 12)
            for i, vector in enumerate(vectors)
        )
        with isolate_apps("tests.testapp"):
            model = loaded(inspected("shop_thing"), monkeypatch)
            missing = "dorm_vector.E105"  # kinds that the other databases of the settings lack
            assert [found for found in model.check() if found.id != missing] == []
            rows = model.objects.using("scratch")
            query = rng.normal(size=300).astype("f4")
            found = nearest(rows, "wide", query, metric="l2", k=50, exact=True)
            expected = np.argsort(np.linalg.norm(vectors - query, axis=1)) + 1
            assert list(found.values_list("pk", flat=True)) == expected.tolist()
            if engine == "sqlite":
                searched = nearest(rows, "wide", query, metric="cosine", k=3)
                assert explain_nearest(searched).index == "wide_cosine"

    def test_all_tables(self, thing: Any) -> None:
        """The tables that indexes are kept in are no models."""
        text = inspected()
        classes = [line for line in text.splitlines() if line.startswith("class ")]
        assert classes == ["class ShopThing(models.Model):"]

    def test_without_vectors(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE a (id integer PRIMARY KEY, b varchar(3))")
        text = inspected()
        assert "dorm_vector" not in text
        assert "    b = models.CharField(max_length=3, blank=True, null=True)\n" in text

    def test_another_apps_command(
        self, thing: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        """It does what that one does as well."""
        commands = tmp_path / "others" / "management" / "commands"
        commands.mkdir(parents=True)
        for folder in (commands, commands.parent, commands.parent.parent):
            (folder / "__init__.py").touch()
        (commands / "inspectdb.py").write_text(
            "from django.core.management.commands import inspectdb\n\n"
            "class Command(inspectdb.Command):\n"
            "    def normalize_table_name(self, name):\n"
            "        return 'X' + super().normalize_table_name(name)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import others  # type: ignore[import-not-found]

        config = AppConfig("others", others)
        monkeypatch.setitem(apps.app_configs, "others", config)
        text = inspected("shop_thing")
        assert "class XShopThing(models.Model):" in text
        assert "dorm_vector.fields.BitField(length=13)" in text


class TestIntrospection:
    def test_table_names(self, thing: Any, connection: Any) -> None:
        assert connection.introspection.table_names() == ["shop_thing"]

    def test_a_users_table_is_listed(self, thing: Any, connection: Any) -> None:
        """Also one whose name begins like that of an index."""
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE plain_l2_notes (id integer PRIMARY KEY)")
        assert connection.introspection.table_names() == ["plain_l2_notes", "shop_thing"]

    def test_constraints(self, thing: Any, connection: Any, engine: str) -> None:
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, "shop_thing")
        index = found["wide_cosine"]
        assert (index["index"], index["metric"]) == (True, "cosine")
        assert index["columns"] == ["wide"]
        assert index["type"] == ("hnsw" if engine == "postgresql" else "vector")
        if engine == "libsql":
            assert index["options"][0] == "max_neighbors=20"

    def test_columns(self, thing: Any, connection: Any, engine: str) -> None:
        columns = engine_for(connection).vector_columns("shop_thing")
        expected = {
            "odd name": ("vector", 3),
            "wide": ("vector", 300),
            "half": ("halfvec", 5),
            "bits": ("bit", 13),
            "bytes": ("bit", 16),
        }
        if engine == "postgresql":
            expected["sparse"] = ("sparsevec", 1000)
        assert columns == expected

    def test_any_dimensions(self, request: pytest.FixtureRequest) -> None:
        made = request.getfixturevalue("scratch")()
        with made.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
            cursor.execute("CREATE TABLE a (id integer PRIMARY KEY, v vector)")
        line = (
            "    v = models.TextField(blank=True, null=True)  # A vector of any dimensions: "
            "give its column a number of them."
        )
        assert line in inspected("a").splitlines()

    def test_altering_leaves_indexes(self, thing: Any, connection: Any) -> None:
        """A schema editor that looks for B-trees meets no index of vectors."""
        old = thing._meta.get_field("wide")
        new = models.VectorField(300, null=True, db_index=False, help_text="x")
        new.set_attributes_from_name("wide")
        new.model = thing
        with connection.schema_editor() as editor:
            editor.alter_field(thing, old, new)
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, "shop_thing")
        assert found["wide_cosine"]["metric"] == "cosine"


def test_connections_have_one_class(engine: str, connection: Any) -> None:
    assert type(connection.introspection) is connection.introspection_class
    alias = {"sqlite": "default"}.get(engine, engine)
    assert type(connection.introspection) is type(connections[alias].introspection)


TEXT_INDEXES = [
    TextIndex(fields=["title", "body"], name="t_both", weights={"title": "A", "body": "B"}),
    TextIndex(fields=["body"], name="t_plain"),
    TextIndex(fields=["title"], name="t_d", weights={"title": "D"}, language="simple"),
    TextIndex(fields=["body", "title"], name="t german", language="german"),
    TextIndex(fields=["title", "body"], name="t_parts", tokenize="trigram"),
    TextIndex(fields=["body"], name="t_some", condition=Q(title="x")),
]
TEXT_WRITTEN = {
    "postgresql": [
        "TextIndex(name='t german', fields=['body', 'title'], language='german')",
        "TextIndex(name='t_both', fields=['title', 'body'], weights={'title': 'A', 'body': 'B'})",
        "TextIndex(name='t_d', fields=['title'], language='simple', weights={'title': 'D'})",
        "TextIndex(name='t_parts', fields=['title', 'body'], tokenize='trigram')",
        "TextIndex(name='t_plain', fields=['body'])",
    ],
    "others": [
        "TextIndex(name='t german', fields=['body', 'title'], language='simple')",
        "TextIndex(name='t_both', fields=['title', 'body'])",
        "TextIndex(name='t_d', fields=['title'], language='simple')",
        "TextIndex(name='t_parts', fields=['title', 'body'], tokenize='trigram')",
        "TextIndex(name='t_plain', fields=['body'])",
    ],
}
UNKNOWN = "    # The database does not know {} of the text index {!r}."
TEXT_NOTES = {
    "postgresql": ["    # The text index 't_some' is partial."],
    "others": [
        UNKNOWN.format("the weights and the language", "t german"),
        UNKNOWN.format("the weights", "t_both"),
        UNKNOWN.format("the weights and the language", "t_d"),
        UNKNOWN.format("the weights", "t_parts"),
        UNKNOWN.format("the weights", "t_plain"),
    ],
}


@pytest.mark.parametrize("of_text", [False, True], ids=["number", "text"])
def test_text_indexes(
    engine: str, connection: Any, of_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION pg_trgm")
    with isolate_apps("tests.testapp"):

        class Thing(Model):
            key = (
                models.CharField(max_length=9, primary_key=True)
                if of_text
                else models.BigAutoField(primary_key=True)
            )
            title = models.CharField(max_length=50)
            body = models.TextField(null=True, db_column="the 'body'")

            class Meta:
                app_label = "shop"
                db_table = "shop_thing"
                indexes = TEXT_INDEXES

        with connection.schema_editor() as editor:
            editor.create_model(Thing)
        Thing.objects.using("scratch").create(pk=1, title="Cats", body="A hat.")
        text = inspected("shop_thing").replace("the_body_field", "body").replace("the_body", "body")
        written = sorted(
            line.strip().removeprefix("dorm_vector.indexes.").removesuffix(",")
            for line in text.splitlines()
            if "dorm_vector.indexes." in line and not line.startswith("import")
        )
        of = "postgresql" if engine == "postgresql" else "others"
        notes = sorted(line for line in text.splitlines() if "text index" in line)
        partial = "TextIndex(name='t_some', fields=['body'])"
        if engine != "postgresql":
            assert partial in written
            written.remove(partial)
            notes.remove(UNKNOWN.format("the weights", "t_some"))
        assert (written, notes) == (TEXT_WRITTEN[of], sorted(TEXT_NOTES[of]))
        model = loaded(text, monkeypatch)
        assert model.check() == []
        for words in ("cats", "CATS -dog"):
            assert matching(model.objects.using("scratch"), words, fields=["title", "body"])


def test_indexes_of_words_of_others(connection: Any, engine: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE shop_thing (id integer PRIMARY KEY, a text, b text[])")
        if engine == "postgresql":
            for over in ("to_tsvector('english', a)", "b", "to_tsvector('english', a || 'x')"):
                cursor.execute(f"CREATE INDEX ON shop_thing USING gin ({over})")
        else:
            cursor.execute("CREATE VIRTUAL TABLE words USING fts5(c0)")
            cursor.execute(
                "CREATE TRIGGER words_insert AFTER INSERT ON shop_thing BEGIN "
                "INSERT INTO words (rowid, c0) VALUES (NEW.id, NEW.a); END"
            )
    assert engine_for(connection).found_text_indexes("shop_thing") == []
