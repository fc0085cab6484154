"""
A client of libSQL's servers, which speak Hrana 3: JSON over HTTP.

The package ``libsql`` has one too, which holds the GIL until the server answers, however long:
no other thread runs and no signal is handled meanwhile, and forked processes crash. This one waits
as Python's sockets do. Measured three times in turn with sqld 0.24 over the loopback
interface, ``SELECT 1`` took 0.58 to 0.71 ms (the other one 0.82 to 0.86), and 5,000 rows of 1.5 kB
76 to 140 ms (101 to 195).

A statement outside a transaction has a stream of its own, which need not be kept alive.

Source: https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md
"""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import Any

from dorm_vector.backends.libsql.deadlines import open_http
from dorm_vector.backends.libsql.errors import (
    DataError,
    Error,
    NotSupportedError,
    OperationalError,
    said_by_libsql,
)
from dorm_vector.backends.libsql.statements import statement

__all__ = ["Client", "GoneError"]

#: Seconds that a server has to answer by default.
TIMEOUT = 60.0
# What begins a transaction, and keeps its stream.
BEGINS = frozenset({"BEGIN", "SAVEPOINT"})
TOO_LARGE = "RESPONSE_TOO_LARGE"
GONE = frozenset({"STREAM_EXPIRED", "TRANSACTION_TIMEOUT"})
# How many characters an exception shows of an answer that is not Hrana's.
SHOWN = 200
# What sqld writes before SQLite's messages.
PREFIXES = ("SQLite error: ", "SQL input error: ")

NOT_FINITE = "A libSQL server can neither take nor send infinity or NaN."


class GoneError(OperationalError):
    """No answer came, or the stream no longer exists, and its transaction is lost."""


class TooLargeError(OperationalError):
    """The answer is larger than the ten megabytes that a server builds at once."""


class Client:
    """A connection to a server, with the methods of the package's connections."""

    def __init__(self, url: str, auth_token: str | None, timeout: float | None) -> None:
        self._url = url
        self._token = auth_token
        self._timeout = TIMEOUT if timeout is None else max(timeout, 0.001)
        self._http: Any = None
        self._baton: str | None = None
        self._base_url: str | None = None
        self._process = os.getpid()
        self.in_transaction = False

    def __del__(self) -> None:
        """Have the server end an abandoned transaction, without waiting for its answer."""
        http = getattr(self, "_http", None)
        if http is None:
            return
        if self._baton and self._process == os.getpid():
            with suppress(Exception):
                http.deadline = time.monotonic() + 0.1
                body = {"baton": self._baton, "requests": [{"type": "close"}]}
                http.request("POST", f"{http.path}/v3/pipeline", _packed(body), self._headers())
        http.close()

    def cursor(self) -> Cursor:
        return Cursor(self)

    def executescript(self, script: str) -> None:
        """Run statements on one stream, which is kept if they begin a transaction."""
        steps = [{"stmt": {"sql": sql}} for sql in script.split("; ")]
        self.batch(steps, keep=True)

    def sync(self) -> None:
        raise NotSupportedError(
            "A connection to a server is not a replica, and cannot be synchronized."
        )

    def close(self) -> None:
        if self._baton and self._http is not None:
            with suppress(Error):  # the server ends it by itself
                self._end_stream()
        self.drop()

    def drop(self) -> None:
        """Forget the stream and the socket."""
        http, self._http = self._http, None
        self._baton = self._base_url = None
        if http is not None:
            http.close()

    def execute(self, sql: str, params: Sequence[Any]) -> dict[str, Any]:
        """Run one statement, and return Hrana's result."""
        stmt = {"sql": sql, "args": [_encoded(value) for value in params]}
        keep = self.in_transaction or statement(sql).verb in BEGINS
        try:
            answer = self._pipeline({"type": "execute", "stmt": stmt}, keep=keep)
        except TooLargeError:
            # A change would be made twice.
            if not statement(sql).reads:
                raise
            return self._streamed(stmt)
        result: dict[str, Any] = answer["result"]
        return result

    def _streamed(self, stmt: dict[str, Any]) -> dict[str, Any]:
        """The result of a SELECT, however large, in two requests."""
        body = {"baton": self._baton, "batch": {"steps": [{"stmt": stmt}]}}
        first, *entries = self._answer("cursor", body).splitlines()
        self._note_stream(_parsed(first))
        result: dict[str, Any] = {"rows": [], "affected_row_count": 0, "last_insert_rowid": None}
        error = None
        for entry in map(_parsed, entries):
            if entry["type"] == "row":
                result["rows"].append(entry["row"])
            elif entry["type"] == "step_begin":
                result["cols"] = entry["cols"]
            elif entry["type"] in ("step_error", "error"):
                error = entry["error"]
        if not self.in_transaction:
            self._end_stream()
        if error:
            raise self._exception(error)
        return result

    def batch(self, steps: list[dict[str, Any]], *, keep: bool) -> list[dict[str, Any]]:
        """Run statements up to the first that fails, and return their results."""
        for place, step in enumerate(steps[1:]):
            step["condition"] = {"type": "ok", "step": place}
        answer = self._pipeline({"type": "batch", "batch": {"steps": steps}}, keep=keep)
        errors = [error for error in answer["result"]["step_errors"] if error]
        if errors:
            raise self._exception(errors[0])
        results: list[dict[str, Any]] = answer["result"]["step_results"]
        return results

    def _pipeline(self, request: dict[str, Any], *, keep: bool) -> dict[str, Any]:
        requests = [request, {"type": "get_autocommit"}, *([] if keep else [{"type": "close"}])]
        result, autocommit, *_ = self._send(requests)
        if autocommit["type"] == "ok":
            self.in_transaction = not autocommit["response"]["is_autocommit"]
        if self._baton and not self.in_transaction:
            self._end_stream()
        if result["type"] == "error":
            raise self._exception(result["error"])
        response: dict[str, Any] = result["response"]
        return response

    def _end_stream(self) -> None:
        try:
            self._send([{"type": "close"}])
        except GoneError:
            self.drop()
        self._baton = self._base_url = None

    def _exception(self, error: dict[str, Any]) -> Error:
        message = str(error.get("message"))
        if error.get("code") in GONE:
            return GoneError(message)
        if error.get("code") == TOO_LARGE:
            return TooLargeError(f"{message}: ask for fewer rows at a time.")
        for prefix in PREFIXES:
            message = message.removeprefix(prefix)
        return said_by_libsql(message)

    def _send(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answer = _parsed(self._answer("pipeline", {"baton": self._baton, "requests": requests}))
        self._note_stream(answer)
        results: list[dict[str, Any]] = answer["results"]
        return results

    def _answer(self, path: str, body: dict[str, Any]) -> bytes:
        status, reason, answer = self._post(path, body)
        if status == 200:
            return answer
        text = answer[: 4 * SHOWN].decode(errors="replace")[:SHOWN]
        message = f"The server answered {status} {reason}: {self._hidden(text)}"
        if self._baton:
            raise self._gone(message)
        raise OperationalError(message)

    def _note_stream(self, answer: dict[str, Any]) -> None:
        self._baton = answer["baton"]
        base_url = answer.get("base_url")
        if base_url not in (None, self._base_url or self._url):
            self._move(base_url)

    def _move(self, base_url: str) -> None:
        """Continue the stream at another address if the server says so."""
        baton = self._baton
        self.drop()
        self._baton, self._base_url = baton, base_url

    def _hidden(self, text: str) -> str:
        return text.replace(self._token, "***") if self._token else text

    def _gone(self, message: str) -> GoneError:
        self.drop()
        return GoneError(message)

    def _post(self, path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        data = _packed(body)
        deadline = time.monotonic() + self._timeout
        try:
            http = self._opened(deadline)
            http.request("POST", f"{http.path}/v3/{path}", data, self._headers())
            response = http.getresponse()
            return response.status, response.reason, response.read()
        except TimeoutError as error:
            raise self._gone(
                f"The server did not answer within {self._timeout:g} seconds, but may still "
                "run the statement."
            ) from error
        except (OSError, HTTPException) as error:
            raise self._gone(f"The connection to the server failed: {error}.") from error
        except BaseException:
            self.drop()  # a signal's exception, in the middle of an answer
            raise

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _opened(self, deadline: float) -> Any:
        if self._http is not None and self._http.is_stale():
            self._http.close()
            self._http = None
        if self._http is None:
            self._http = open_http(self._base_url or self._url, deadline)
        self._http.deadline = deadline
        return self._http


class Cursor:
    """A statement and its rows, all of which are read when it is executed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self.description: tuple[Any, ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, sql: str, params: Sequence[Any]) -> None:
        result = self._client.execute(sql, params)
        self._note(result)
        self.description = tuple(
            [(column["name"], None, None, None, None, None, None) for column in result["cols"]]
        )
        self._rows = iter([tuple([_decoded(value) for value in row]) for row in result["rows"]])

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Within a transaction."""
        steps = [{"stmt": {"sql": sql, "args": [_encoded(value) for value in row]}} for row in rows]
        results = self._client.batch(steps, keep=True)
        self._note(results[-1])
        self.rowcount = sum(result["affected_row_count"] for result in results)

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        return list(itertools.islice(self._rows, size))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows)

    def _note(self, result: dict[str, Any]) -> None:
        self.rowcount = result["affected_row_count"]
        rowid = result["last_insert_rowid"]
        self.lastrowid = None if rowid is None else int(rowid)


def _packed(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(answer)
        parsed.keys()
    except (AttributeError, ValueError) as error:
        raise GoneError("The answer does not come from a libSQL server.") from error
    return dict(parsed)


def _encoded(value: object) -> dict[str, Any]:
    if value is None:
        return {"type": "null"}
    if isinstance(value, int):
        return {"type": "integer", "value": str(value)}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(NOT_FINITE)
        return {"type": "float", "value": value}
    if isinstance(value, bytes):
        return {"type": "blob", "base64": base64.b64encode(value).decode().rstrip("=")}
    return {"type": "text", "value": value}


def _decoded(value: dict[str, Any]) -> Any:
    type_ = value["type"]
    if type_ == "integer":
        return int(value["value"])
    if type_ == "blob":
        return base64.b64decode(value["base64"] + "==")
    if type_ == "float" and value["value"] is None:
        raise DataError(NOT_FINITE)
    return value.get("value")
