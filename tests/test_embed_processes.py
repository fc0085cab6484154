"""``embed()`` by several processes, of which some are killed, while rows are edited."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

from dorm_vector import EmbedReport, FreshVector, embed
from dorm_vector.embeddings import workers
from tests.support.embedding import BATCH_SIZE, LOG, by_name, vector_of
from tests.testapp.models import Item

ROWS, KILLS = 400, 10


@pytest.fixture(params=list(settings.ENGINES.items()), ids=list(settings.ENGINES.values()))
def database(request: pytest.FixtureRequest, open_database: Any, tmp_path: Path) -> Any:
    """A database that other processes reach, with the table of items."""
    alias, engine = request.param
    if engine == "postgresql":
        connection = request.getfixturevalue("scratch")()
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
    else:
        options = {} if engine == "libsql" else {"timeout": 60}
        connection = open_database(alias, NAME=str(tmp_path / "db"), OPTIONS=options)
    with connection.schema_editor() as editor:
        editor.create_model(Item)
    return alias, connection


class Workers:
    """Processes that embed the same items, and what they wrote down."""

    def __init__(self, alias: str, name: str, log: Path) -> None:
        self.command = [sys.executable, "-m", "tests.support.embedding", alias, name]
        self.environment = {
            **os.environ,
            LOG: str(log),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        self.log = log
        log.touch()

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self) -> list[tuple[int, list[Any]]]:
        """The calls that succeeded: which process made them, and the keys and texts."""
        lines = self.log.read_text().splitlines()
        return [(pid, rows) for pid, _, rows in map(json.loads, lines)]

    def wait_for_calls(self, number: int, *processes: subprocess.Popen[str]) -> None:
        while len(self.calls()) < number and any(each.poll() is None for each in processes):
            time.sleep(0.02)


def edit(rows: Any, number: int) -> int:
    """What a user does to a row: the trigger of FreshVector makes the vector NULL."""
    key = random.randrange(1, ROWS + 1)
    rows.filter(pk=key).update(name=f"edited {number}")
    return key


def test_killed_ten_times(database: Any, tmp_path: Path) -> None:
    alias, connection = database
    with connection.schema_editor() as editor:
        editor.add_constraint(
            Item, FreshVector(field="embedding", of=["name"], name="item_embedding_fresh")
        )
    rows = Item.objects.using("scratch")
    rows.bulk_create(Item(name=f"text {number}") for number in range(ROWS))
    workers = Workers(alias, str(connection.settings_dict["NAME"]), tmp_path / "log")
    running, killed = [workers.start(), workers.start()], []
    edited = set()
    for number in range(KILLS):
        workers.wait_for_calls(len(workers.calls()) + 2, *running)
        edited.add(edit(rows, number))
        victim = running.pop(0)
        victim.kill()
        victim.communicate()
        killed.append(victim.pid)
        running.append(workers.start())
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    reports = [json.loads(output) for output, _ in ended]
    assert [failed for _, failed, _, _ in reports] == [0, 0]

    # Each row has the vector of its present text.
    assert rows.count() == ROWS
    for row in rows.all():
        assert row.embedding == vector_of(row.name)
    # Nothing was done twice but what was in flight, and what an edit had locked when its vector was
    # to be written: until that is committed another process may read the old text.
    calls = workers.calls()
    last = {pid: place for place, (pid, _) in enumerate(calls)}
    in_flight = {last[pid] for pid in killed if pid in last}
    done = Counter(
        (key, text)
        for place, (_, texts) in enumerate(calls)
        if place not in in_flight
        for key, text in texts
    )
    assert {key for (key, _), times in done.items() if times > 1} <= edited
    assert set(done.values()) <= {1, 2}
    assert sum(len(texts) for _, texts in calls) <= ROWS + KILLS * (1 + BATCH_SIZE)
    assert all(len(texts) <= BATCH_SIZE for _, texts in calls)


def test_within_a_running_loop(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, where Django has to be told; its connections are others there."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    rows = Item.objects.using("scratch")
    rows.bulk_create(Item(name=f"text {number}") for number in range(10))
    loops: list[Any] = []

    async def eventually(found: list[Any]) -> list[list[float]]:
        loops.append(asyncio.get_running_loop())
        return by_name(found)

    async def cell() -> EmbedReport:
        try:
            return embed(rows, "embedding", eventually, batch_size=4)
        finally:
            connections["scratch"].close()

    report = asyncio.run(cell())
    assert (report.embedded, report.calls) == (10, 3)
    assert [row.embedding for row in rows.all()] == [vector_of(row.name) for row in rows.all()]
    # One loop for all calls, which ends with them, and its thread too.
    assert len(set(loops)) == 1
    assert loops[0].is_closed()
    threads = [each.name for each in threading.enumerate()]
    assert not any(name.startswith("dorm_vector") for name in threads)


class TestWorkers:
    """``manage.py embed --workers``: one process deals the rows, others embed them."""

    def run(self, rows: Any, embedder: str, **options: Any) -> Any:
        output = StringIO()
        call_command(
            "embed",
            "testapp.Item.embedding",
            embedder=f"tests.support.embedding.{embedder}",
            database=rows.db,
            json=True,
            stdout=output,
            **{"workers": 2, "backoff": 0.001, **options},
        )
        return json.loads(output.getvalue())

    @pytest.fixture
    def rows(self, database: Any) -> Any:
        rows = Item.objects.using("scratch")
        rows.bulk_create(Item(name=f"n{number}") for number in range(100))
        return rows

    def test_the_rows_are_shared(self, rows: Any) -> None:
        report = self.run(rows, "Counting", batch_size=5)
        assert report == {
            "embedded": 100, "failed": 0, "skipped": 0, "left": 0, "calls": 20, "errors": [],
            "seconds": report["seconds"],
        }  # fmt: skip
        assert len({row.embedding[1] for row in rows.all()}) == 2
        # Each instance of the class has counted its own calls.
        assert sum(max(calls for calls in each) for each in self.by_process(rows)) == 20

    def by_process(self, rows: Any) -> list[list[float]]:
        vectors = [row.embedding for row in rows.all()]
        return [
            [calls for calls, pid, _ in vectors if pid == process]
            for process in {pid for _, pid, _ in vectors}
        ]

    def test_no_more_processes_than_batches(
        self, rows: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started, start = [], workers.Workers._started

        def counted(them: workers.Workers) -> Any:
            started.append(them)
            return start(them)

        monkeypatch.setattr(workers.Workers, "_started", counted)
        report = self.run(rows, "by_name", batch_size=64, workers=500)
        assert (report["embedded"], len(started)) == (100, 2)

    def test_all_of_them_once(self, rows: Any) -> None:
        rows.update(embedding=[1, 1, 1])
        report = self.run(rows, "by_name", batch_size=7, all=True)
        assert (report["embedded"], report["calls"]) == (100, 15)
        assert all(row.embedding == vector_of(row.name) for row in rows.all())

    def test_what_goes_wrong_in_a_worker(self, rows: Any) -> None:
        with pytest.raises(CommandError) as caught:
            self.run(rows, "wrong_length")
        first = rows.order_by("pk")[0].pk
        assert str(caught.value) in (
            f"The vector for testapp.Item {pk} is refused: testapp.Item.embedding: Expected 3 "
            "dimensions, not 2."
            for pk in (first, first + 64)
        )
        with pytest.raises(CommandError, match=r"^Worker \d+ ended with exit code 9 while it emb"):
            self.run(rows, "deadly")
        with pytest.raises(CommandError) as caught:
            self.run(rows, "refusing")
        assert str(caught.value) == "19 rows of testapp.Item could not be embedded."
        assert rows.filter(embedding=None).count() == 19


def test_no_workers_for_a_database_in_memory(db: None) -> None:
    for alias in ("default", "libsql"):
        with pytest.raises(CommandError) as caught:
            call_command(
                "embed",
                "testapp.Item.embedding",
                embedder="tests.support.embedding.by_name",
                database=alias,
                workers=2,
            )
        assert str(caught.value) == (
            f"The database {alias!r} is in the memory of this process. Use one worker."
        )
