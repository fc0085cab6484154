"""HTTP connections whose reads and writes all end at one time, ``deadline``."""

from __future__ import annotations

import io
import select
import ssl
import time
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

__all__ = ["open_http"]


class _Socket:
    """A socket whose reads and writes all end at one time."""

    def __init__(self, sock: Any, http: Any) -> None:
        self.sock = sock
        self._http = http

    def sendall(self, data: Any) -> None:
        self._limit()
        self.sock.sendall(data)

    def makefile(self, mode: str) -> Any:
        # A plain file of the socket keeps it open until the answer is read, as http.client wants.
        return io.BufferedReader(_Reader(self, self.sock.makefile(mode, buffering=0)), 1 << 16)

    def close(self) -> None:
        self.sock.close()

    def _limit(self) -> None:
        remaining = self._http.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self.sock.settimeout(remaining)


class _Reader(io.RawIOBase):
    def __init__(self, sock: _Socket, raw: Any) -> None:
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._sock._limit()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Limited:
    """The part of an HTTP connection that has a deadline."""

    sock: Any
    deadline: float
    path: str

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock = _Socket(self.sock, self)

    def is_stale(self) -> bool:
        """Whether the server has closed an idle connection: what is sent would be lost."""
        if self.sock is None:
            return True
        poll = select.poll() if hasattr(select, "poll") else None
        if poll is None:
            return bool(select.select([self.sock.sock], [], [], 0)[0])
        poll.register(self.sock.sock, select.POLLIN)
        return bool(poll.poll(0))


class _HTTP(_Limited, HTTPConnection):
    pass


class _HTTPS(_Limited, HTTPSConnection):
    pass


def open_http(url: str, deadline: float) -> Any:
    """A connection to the server of a URL, which it has until ``deadline`` to make."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    timeout = max(deadline - time.monotonic(), 0.001)
    http: Any
    if parts.scheme == "http":
        http = _HTTP(host, parts.port, timeout=timeout)
    else:
        http = _HTTPS(host, parts.port, timeout=timeout, context=ssl.create_default_context())
    http.path = parts.path.rstrip("/")
    return http
