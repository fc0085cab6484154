"""Coroutines, threads, pools and processes: the same answers, whoever asks."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model
from django.test.utils import CaptureQueriesContext, isolate_apps

from dorm_vector import HnswIndex, L2Distance, abulk_copy, models, nearest, search_params
from dorm_vector.querysets import VectorQuerySet

ENGINES = {"sqlite": "default", "postgresql": "postgresql", "libsql": "libsql"}
QUERY = [0.5, -1.0, 2.0]
VECTORS = np.random.default_rng(17).normal(size=(60, 3)).astype("f4")
EXPECTED = (np.argsort(np.linalg.norm(VECTORS - np.array(QUERY, "f4"), axis=1)) + 1).tolist()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options() -> dict[str, Any]:
    """Settings of the connection: tests override it by their parameters."""
    return {}


@pytest.fixture
def connection(engine: str, options: Any, open_database: Any, request: Any, tmp_path: Any) -> Any:
    if engine == "postgresql":
        made = request.getfixturevalue("scratch")(**options)
        with made.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
    else:
        made = open_database(ENGINES[engine], NAME=str(tmp_path / "db"), **options)
    return made


@pytest.fixture
def thing(connection: Any) -> Iterator[Any]:
    """A model whose table holds the vectors, by keys from 1 on."""
    with isolate_apps("tests.testapp"):

        class Thing(Model):
            embedding = models.VectorField(3, null=True)
            objects = VectorQuerySet.as_manager()

            class Meta:
                app_label = "shop"
                indexes = [HnswIndex(fields=["embedding"], name="thing_l2", metric="l2")]

        with connection.schema_editor() as editor:
            editor.create_model(Thing)
        Thing.objects.using("scratch").bulk_create(Thing(embedding=v) for v in VECTORS.tolist())
        yield Thing


def search(thing: Any, **options: Any) -> Any:
    return nearest(thing.objects.using("scratch"), "embedding", QUERY, metric="l2", **options)


def keys(rows: Any) -> list[int]:
    return [row.pk for row in rows]


class TestQuerysets:
    def test_methods(self, thing: Any) -> None:
        async def ask() -> Any:
            found = search(thing, k=5)
            return (
                [row.pk async for row in found],
                [row.pk async for row in search(thing).aiterator(7)],
                (await search(thing).afirst()).pk,
                (await search(thing, max_distance=0.9).acount()),
                await found.aexists(),
                (await search(thing).aget(pk=EXPECTED[3])).pk,
                await search(thing)[2:4].aaggregate(n=models.Count("pk")),
                await search(thing).acontains(await thing.objects.using("scratch").aget(pk=1)),
                sorted(await search(thing).ain_bulk(EXPECTED[:3])),
            )

        near = int((np.linalg.norm(VECTORS - np.array(QUERY, "f4"), axis=1) <= 0.9).sum())
        assert async_to_sync(ask)() == (
            EXPECTED[:5],
            EXPECTED,
            EXPECTED[0],
            near,
            True,
            EXPECTED[3],
            {"n": 2},
            True,
            sorted(EXPECTED[:3]),
        )

    def test_tasks_at_the_same_time(self, thing: Any) -> None:
        async def ask() -> Any:
            async def one(k: int) -> list[int]:
                return [row.pk async for row in search(thing, k=k)]

            return await asyncio.gather(*(one(k) for k in range(1, 20)))

        assert async_to_sync(ask)() == [EXPECTED[:k] for k in range(1, 20)]

    def test_plain_queries(self, thing: Any) -> None:
        async def ask() -> list[int]:
            rows = thing.objects.using("scratch").order_by(L2Distance("embedding", QUERY))
            return [row.pk async for row in rows]

        assert async_to_sync(ask)() == EXPECTED


class TestLoading:
    def test_objects(self, thing: Any) -> None:
        rows = [thing(embedding=[n, 0, 0]) for n in range(300)]
        count = async_to_sync(abulk_copy)(thing.objects.using("scratch"), rows)
        assert (count, thing.objects.using("scratch").count()) == (300, 360)

    def test_an_asynchronous_iterator(self, thing: Any) -> None:
        async def rows() -> AsyncIterator[Any]:
            for n in range(250):
                await asyncio.sleep(0)
                yield thing(embedding=[n, 0, 0])

        async def load() -> int:
            return int(await thing.objects.using("scratch").abulk_copy(rows(), batch_size=100))

        assert async_to_sync(load)() == 250
        last = thing.objects.using("scratch").order_by("-pk")[0]
        assert last.embedding == [249, 0, 0]

    def test_an_error_names_the_row(self, thing: Any) -> None:
        async def rows() -> AsyncIterator[Any]:
            yield thing(embedding=[1, 2, 3])
            yield thing(embedding=[1, 2])

        async def load() -> int:
            return await abulk_copy(thing.objects.using("scratch"), rows())

        with pytest.raises(ValidationError) as caught:
            async_to_sync(load)()
        assert caught.value.messages == [
            "Row 2: shop.Thing.embedding: Expected 3 dimensions, not 2."
        ]
        assert thing.objects.using("scratch").count() == 60


class TestSearchParams:
    """On PostgreSQL, where there is something to tune; elsewhere they do nothing."""

    def current(self) -> str | None:
        with connections["scratch"].cursor() as cursor:
            cursor.execute("SELECT current_setting('hnsw.ef_search', true)")
            return str(cursor.fetchone()[0])

    def seen(self, thing: Any) -> Any:
        """What holds while a query runs."""
        rows = thing.objects.using("scratch").annotate(
            ef=models.Func(
                models.Value("hnsw.ef_search"),
                function="current_setting",
                output_field=models.CharField(),
            )
        )
        return rows.filter(pk=1)

    @pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
    def test_block(self, thing: Any) -> None:
        async def ask() -> list[Any]:
            found = []
            async with search_params("scratch", ef_search=77):
                found.append((await self.seen(thing).aget()).ef)
                async with search_params("scratch", ef_search=88, max_scan_tuples=9):
                    found.append((await self.seen(thing).aget()).ef)
                found.append((await self.seen(thing).aget()).ef)
            found.append((await self.seen(thing).aget()).ef)
            return found

        assert async_to_sync(ask)() == ["77", "88", "77", "40"]

    @pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
    def test_tasks_do_not_meet(self, thing: Any) -> None:
        async def one(ef_search: int) -> list[str]:
            async with search_params("scratch", ef_search=ef_search):
                await asyncio.sleep(0.001 * (ef_search % 7))
                first = [row.ef async for row in self.seen(thing)]
                await asyncio.sleep(0.001 * (ef_search % 3))
                return first + [row.ef async for row in self.seen(thing)]

        async def ask() -> Any:
            return await asyncio.gather(*map(one, range(50, 80)))

        assert async_to_sync(ask)() == [[str(ef)] * 2 for ef in range(50, 80)]

    @pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
    def test_decorator(self, thing: Any) -> None:
        @search_params("scratch", ef_search=66)
        async def view() -> str:
            return str((await self.seen(thing).aget()).ef)

        assert async_to_sync(view)() == "66"
        assert self.current() == "40"

    @pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
    def test_an_error_inside(self, thing: Any) -> None:
        async def ask() -> str:
            with pytest.raises(ZeroDivisionError):
                async with search_params("scratch", ef_search=66):
                    raise ZeroDivisionError
            return str((await self.seen(thing).aget()).ef)

        assert async_to_sync(ask)() == "40"

    def test_every_engine(self, thing: Any) -> None:
        async def ask() -> list[int]:
            async with search_params("scratch", ef_search=100):
                return [row.pk async for row in search(thing, k=7)]

        assert async_to_sync(ask)() == EXPECTED[:7]

    def test_statements_outside_do_not_grow(self, thing: Any) -> None:
        async def ask() -> None:
            async with search_params("scratch", ef_search=100):
                pass

        async_to_sync(ask)()
        with CaptureQueriesContext(connections["scratch"]) as queries:
            list(search(thing, k=3))
        assert len(queries) == 1


POOL = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 3}}}


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("postgresql", POOL),
        ("postgresql", {"CONN_MAX_AGE": 60}),
        ("postgresql", {"CONN_MAX_AGE": 0}),
        ("postgresql", {"OPTIONS": {"server_side_binding": True}}),
        ("postgresql", {"DISABLE_SERVER_SIDE_CURSORS": True}),
        ("sqlite", {"CONN_MAX_AGE": 60}),
        ("libsql", {"CONN_MAX_AGE": 60}),
    ],
    indirect=["engine"],
    ids=["pool", "kept", "closed", "binding", "no-cursors", "sqlite", "libsql"],
)
class TestConnections:
    def test_searching_and_writing(self, thing: Any, options: Any) -> None:
        for _ in range(3):
            assert keys(search(thing, k=9)) == EXPECTED[:9]
            connections["scratch"].close_if_unusable_or_obsolete()
        row = thing.objects.using("scratch").create(embedding=QUERY)
        assert keys(search(thing, k=1)) == [row.pk]
        assert thing.objects.using("scratch").filter(embedding=QUERY).get() == row

    def test_cursors(self, thing: Any, options: Any) -> None:
        assert keys(search(thing).iterator(chunk_size=5)) == EXPECTED
        rows = thing.objects.using("scratch").order_by("pk").iterator(chunk_size=5)
        assert [row.embedding for row in rows] == VECTORS.astype(float).tolist()

    def test_functions(self, thing: Any, options: Any) -> None:
        rows = thing.objects.using("scratch").annotate(d=L2Distance("embedding", QUERY))
        found = rows.filter(d__lt=1).values_list("d", flat=True).order_by("d")
        expected = np.sort(np.linalg.norm(VECTORS - np.array(QUERY, "f4"), axis=1))
        assert list(found) == pytest.approx(expected[expected < 1].tolist(), rel=1e-5)


class TestThreads:
    def test_each_has_a_connection(self, thing: Any, connection: Any) -> None:
        """A connection of a thread's own is made fit for vectors as well."""
        alias_settings = connection.settings_dict

        def work(k: int) -> list[int]:
            mine = type(connection)(alias_settings, alias="scratch")
            connections["scratch"] = mine
            try:
                return keys(search(thing, k=k))
            finally:
                mine.close()
                getattr(mine, "close_pool", bool)()
                del connections["scratch"]

        barrier = threading.Barrier(4)

        def together(k: int) -> list[int]:
            barrier.wait()
            return work(k)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(together, [3, 4, 5, 6])) == [EXPECTED[:k] for k in (3, 4, 5, 6)]


def _in_a_child(pipe: Any, thing: Any) -> None:
    connections["scratch"].close()
    pipe.send(keys(search(thing, k=4)))
    connections["scratch"].close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers(thing: Any) -> None:
    """As a server does that loads the project before it forks: each child reconnects."""
    connections["scratch"].close()
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_in_a_child, args=(there, thing)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = []
    for _ in workers:
        assert here.poll(60)
        found.append(here.recv())
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert found == [EXPECTED[:4]] * 2
    assert keys(search(thing, k=4)) == EXPECTED[:4]
