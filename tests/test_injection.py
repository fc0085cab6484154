"""Text that becomes SQL: hostile values are refused or written as values, through every door."""

from __future__ import annotations

import contextlib
import enum
import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import (
    FieldDoesNotExist,
    FieldError,
    ImproperlyConfigured,
    ValidationError,
)
from django.db import DatabaseError, connections, models, transaction
from django.db.models.functions import Extract, Trunc
from django.test.utils import CaptureQueriesContext

from dorm_vector import (
    HnswIndex,
    IvfflatIndex,
    L2Distance,
    Subvector,
    VectorIndex,
    bulk_copy,
    nearest,
    search_params,
)
from dorm_vector import models as vector_models
from dorm_vector.engines import engine_for
from dorm_vector.sql import literal, word
from tests.testapp.models import Portable, Stamped

ALIASES = list(django_settings.ENGINES)
VICTIM = "victim"
# What ends a text, a number, a name, a list or a comment, and goes on with a statement.
HOSTILE = [
    f"64MB'; DROP TABLE {VICTIM}; --",
    f"64MB''; DROP TABLE {VICTIM}; --",
    f"\\'; DROP TABLE {VICTIM}; --",
    f"1; DROP TABLE {VICTIM}; --",
    f'x"; DROP TABLE {VICTIM}; --',
    f"1); DROP TABLE {VICTIM}; --",
    f"1]); DROP TABLE {VICTIM}; --",
    f"*/; DROP TABLE {VICTIM}; /*",
    f"%s; DROP TABLE {VICTIM}",
    f"off\0'; DROP TABLE {VICTIM}",
]


class Sneaky(int):
    """A number that shows itself as something else."""

    def __str__(self) -> str:
        return HOSTILE[3]

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return HOSTILE[3]


@pytest.fixture(autouse=True)
def victim(request: pytest.FixtureRequest) -> Iterator[None]:
    """A table in the database of a test with the fixture ``alias``, which has to survive."""
    if "alias" not in request.fixturenames:
        yield
        return
    connection = connections[request.getfixturevalue("alias")]
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {VICTIM} (id integer)")
    yield
    with connection.cursor() as cursor:
        assert VICTIM in connection.introspection.table_names(cursor)
        cursor.execute(f"DROP TABLE {VICTIM}")


def rows() -> list[Portable]:
    return [Portable(category=n, embedding=[n, 1, 1, 1, 1, 1, 1, 1]) for n in range(3)]


def searched(alias: str, **options: Any) -> list[Any]:
    return list(nearest(Portable.objects.using(alias), "embedding", [1] * 8, **options))


def index(kind: Any = VectorIndex, **options: Any) -> Any:
    return kind(**{"fields": ["embedding"], "name": "injected", **options})


# What takes text or a number that may end up in SQL, by a name.
DOORS: dict[str, Callable[[str, Any], object]] = {
    "maintenance_work_mem": lambda alias, value: bulk_copy(
        Portable.objects.using(alias), rows(), rebuild_indexes=True, maintenance_work_mem=value
    ),
    "workers": lambda alias, value: bulk_copy(
        Portable.objects.using(alias), rows(), rebuild_indexes=True, workers=value
    ),
    "batch_size": lambda alias, value: bulk_copy(
        Portable.objects.using(alias), rows(), batch_size=value
    ),
    "unique_fields": lambda alias, value: bulk_copy(
        Portable.objects.using(alias),
        rows(),
        update_conflicts=True,
        unique_fields=[value],
        update_fields=["category"],
    ),
    "ef_search": lambda alias, value: searched(alias, metric="cosine", k=2, ef_search=value),
    "probes": lambda alias, value: search_params(alias, probes=value),
    "iterative_scan": lambda alias, value: search_params(alias, iterative_scan=value),
    "max_scan_tuples": lambda alias, value: search_params(alias, max_scan_tuples=value),
    "scan_mem_multiplier": lambda alias, value: search_params(alias, scan_mem_multiplier=value),
    "metric": lambda alias, value: searched(alias, metric=value),
    "field": lambda alias, value: list(nearest(Portable.objects.using(alias), value, [1] * 8)),
    "Subvector start": lambda alias, value: Subvector("embedding", value, 2),
    "Subvector length": lambda alias, value: Subvector("embedding", 1, value),
    "dimensions": lambda alias, value: vector_models.VectorField(dimensions=value),
    "length": lambda alias, value: vector_models.BitField(length=value),
    "index metric": lambda alias, value: index(metric=value),
    "opclass": lambda alias, value: index(opclass=value),
    "opclasses": lambda alias, value: index(HnswIndex, opclasses=[value]),
    "precision": lambda alias, value: index(precision=value),
    "prefix": lambda alias, value: index(prefix=value),
    "m": lambda alias, value: index(m=value),
    "ef_construction": lambda alias, value: index(ef_construction=value),
    "lists": lambda alias, value: index(IvfflatIndex, lists=value),
    "max_neighbors": lambda alias, value: index(max_neighbors=value),
    "compress_neighbors": lambda alias, value: index(compress_neighbors=value),
    "alpha": lambda alias, value: index(alpha=value),
    "search_l": lambda alias, value: index(search_l=value),
}
REFUSALS = (ValueError, TypeError, FieldError, FieldDoesNotExist, ValidationError)
# With these, a number of a class of its own is the number that it is.
TAKES_NUMBERS = ["ef_search", "probes", "max_scan_tuples", "scan_mem_multiplier"]


class TestDoors:
    """What people hand over is refused before SQL, or compared with what is known."""

    @pytest.mark.parametrize("door", DOORS)
    def test_refused(self, alias: str, door: str) -> None:
        for value in HOSTILE:
            with pytest.raises(REFUSALS), transaction.atomic(alias):
                DOORS[door](alias, value)

    @pytest.mark.parametrize("door", TAKES_NUMBERS)
    def test_number_that_shows_itself_otherwise(self, alias: str, door: str) -> None:
        DOORS[door](alias, Sneaky(1))

    def test_name_of_an_annotation(self, alias: str) -> None:
        """Django refuses it, or quotes it; which of them depends on its version."""
        manager = Portable.objects.using(alias)
        distance = L2Distance("embedding", [1] * 8)
        for value in HOSTILE:
            refusals = contextlib.suppress(ValueError, DatabaseError, Warning)
            with refusals, transaction.atomic(alias):
                list(manager.annotate(**{value: distance}).order_by(value))

    @pytest.mark.parametrize("kind", [Extract, Trunc])
    def test_parts_of_dates(self, alias: str, kind: Any) -> None:
        """Django leaves these to the SQL of the backend."""
        manager = Stamped.objects.using(alias)
        manager.create()
        for value in HOSTILE:
            with (
                pytest.raises(Exception) as caught,  # noqa: PT011 - each driver's own
                transaction.atomic(alias),
            ):
                list(manager.annotate(part=kind("now", value)))
            assert not isinstance(caught.value, AssertionError)

    @pytest.mark.parametrize("value", HOSTILE)
    def test_setting_of_the_connection(
        self, open_database: Any, settings: Any, django_db_setup: None, value: str
    ) -> None:
        settings.DORM_VECTOR = {"ITERATIVE_SCAN": value}
        with pytest.raises(ImproperlyConfigured) as caught:
            open_database("postgresql").ensure_connection()
        assert str(caught.value) == (
            f"DORM_VECTOR['ITERATIVE_SCAN'] is {value!r}; "
            "use one of 'off', 'relaxed_order', 'strict_order', None."
        )

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            (
                "maintenance_work_mem",
                HOSTILE[0],
                "bulk_copy() takes maintenance_work_mem such as '64MB' or '2GB', "
                f"not {HOSTILE[0]!r}.",
            ),
            (
                "maintenance_work_mem",
                65536,
                "bulk_copy() takes maintenance_work_mem such as '64MB' or '2GB', not 65536.",
            ),
            (
                "workers",
                HOSTILE[0],
                f"bulk_copy() takes workers from 0 to 1024, not {HOSTILE[0]!r}.",
            ),
            ("workers", -1, "bulk_copy() takes workers from 0 to 1024, not -1."),
            ("workers", 1025, "bulk_copy() takes workers from 0 to 1024, not 1025."),
            ("workers", True, "bulk_copy() takes workers from 0 to 1024, not True."),
        ],
    )
    def test_messages(self, alias: str, option: str, value: Any, message: str) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole
            DOORS[option](alias, value)
        assert str(caught.value) == message
        assert not Portable.objects.using(alias).exists()


class TestWriting:
    """What has passed the doors is written as a value all the same."""

    def test_search_settings(self, alias: str) -> None:
        engine = engine_for(connections[alias])
        for value in HOSTILE:
            settings = engine.search_settings({"ef_search": value})
            # libSQL and SQLite have none; what PostgreSQL gets, the writer or the server refuses.
            refused = pytest.raises((ValueError, DatabaseError)) if settings else nullcontext()
            with refused, transaction.atomic(alias), engine.local_settings(settings):
                list(Portable.objects.using(alias).all())

    def test_number_that_shows_itself_otherwise(self, alias: str) -> None:
        engine = engine_for(connections[alias])
        with engine.local_settings(engine.search_settings({"ef_search": Sneaky(7)})):
            searched(alias, metric="cosine", k=2)

    def test_what_a_setting_was_before(self, alias: str) -> None:
        """It is put back as it was, and may hold anything."""
        connection = connections[alias]
        engine = engine_for(connection)
        value = HOSTILE[0]
        if connection.vendor == "postgresql":
            with transaction.atomic(alias), connection.cursor() as cursor:
                cursor.execute("SELECT set_config('dorm.anything', %s, true)", [value])
                with engine.local_settings({"dorm.anything": "1"}):
                    cursor.execute("SELECT current_setting('dorm.anything')")
                    assert cursor.fetchone() == ("1",)
                cursor.execute("SELECT current_setting('dorm.anything')")
                assert cursor.fetchone() == (value,)
        else:
            settings = engine.local_settings({"dorm.anything": value})
            with CaptureQueriesContext(connection) as captured, settings:
                pass
            assert len(captured) == 0

    def test_index_that_is_not_built(self, alias: str) -> None:
        """Its name is in a sentence, which is a statement."""
        engine = engine_for(connections[alias])
        for value in HOSTILE:
            nameless = models.Index(fields=["category"], name="x")
            nameless.name, nameless.method = value, "none"  # type: ignore[attr-defined]
            statement = engine._nothing_built(nameless, Portable)
            with connections[alias].cursor() as cursor:
                cursor.execute(str(statement))
                assert VICTIM in cursor.fetchone()[0]


HOSTILE_PERCENT = f"%s; DROP TABLE {VICTIM}"


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("alias", ALIASES)
class TestIndexes:
    @pytest.mark.parametrize("option", ["m", "prefix", "graph", "metric", "name", "opclass"])
    def test_changed_after_it_was_made(self, alias: str, option: str) -> None:
        connection = connections[alias]
        for value in HOSTILE:
            changed = index(metric="l2")
            setattr(changed, option, {"max_neighbors": value} if option == "graph" else value)
            with contextlib.suppress(Exception):  # of the writer, or of the database
                with connection.schema_editor() as editor:
                    editor.add_index(Portable, changed)
                with connection.schema_editor() as editor:
                    editor.remove_index(Portable, changed)
            if connection.vendor == "postgresql" and value == HOSTILE_PERCENT:  # Django cannot
                with contextlib.suppress(Exception), connection.cursor() as cursor:
                    cursor.execute(f'DROP INDEX IF EXISTS "{value}"')
            with connection.schema_editor() as editor:
                editor.remove_index(Portable, index(metric="l2"))
            with connection.cursor() as cursor:
                assert VICTIM in connection.introspection.table_names(cursor)

    @pytest.mark.parametrize("kind", [HnswIndex, VectorIndex])
    def test_names(self, alias: str, kind: Any) -> None:
        manager = Portable.objects.using(alias)
        manager.bulk_create(rows())
        connection = connections[alias]
        names = ["it's", "a b", "ü", "a;b", "--x", "a`b", "[a]", "a'||'b"]
        if connection.vendor != "postgresql":  # Django itself cannot remove such an index there
            names += ["50%", "%s"]
        for name in [*names, *names]:
            named = index(kind, metric="l2", name=name)
            with connection.schema_editor() as editor:
                editor.add_index(Portable, named)
            manager.create(category=9, embedding=[9] * 8)
            with connection.schema_editor() as editor:
                editor.remove_index(Portable, named)
        assert manager.count() == 3 + 2 * len(names)


class TestNames:
    @pytest.mark.parametrize("name", ['a"b', '"a"', "a\0b"])
    def test_names_that_no_database_takes(self, name: str) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole
            VectorIndex(fields=["embedding"], name=name)
        assert str(caught.value) == (
            f"VectorIndex(name={name!r}) needs a name without quotation marks or NUL."
        )


class Level(enum.IntEnum):
    HIGH = 2


class TestLiteral:
    def test_is_read_as_it_was(self, alias: str) -> None:
        texts = ["", "it's", "''", "a\nb", "%", "%s", "ä€𝄞", "--", "/*", ";", '"', "$$", "{}"]
        numbers = [0, -1, 2**62, 1.5, -1e-5, 1e300]
        for value in itertools.chain(texts, numbers):
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SELECT {literal(value)}")
                (found,) = cursor.fetchone()
            assert type(value)(found) == value

    def test_subclasses(self) -> None:
        assert [literal(Sneaky(7)), literal(Level.HIGH)] == ["7", "2"]

    @pytest.mark.parametrize(
        "value", [None, True, float("nan"), float("inf"), b"1", [1], "a\\b", "a\0b"]
    )
    def test_refused(self, value: Any) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole
            literal(value)
        assert str(caught.value) == f"{value!r} cannot be written into SQL as a number or a text."


class TestWord:
    @pytest.mark.parametrize("name", ["a", "hnsw.ef_search", "vector_l2_ops", "_x1"])
    def test_taken(self, name: str) -> None:
        assert word(name) == name

    @pytest.mark.parametrize("name", ["", "1a", "a b", "a.b.c", "ä", "a\n", None, 1, *HOSTILE])
    def test_refused(self, name: Any) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared whole
            word(name)
        assert str(caught.value) == f"{name!r} cannot be written into SQL as a name."
