"""
Embedders for tests that run commands in other processes, and a program that runs one of them.

``python -m tests.support.embedding ALIAS NAME`` embeds the items of a database, and writes a line
into the file LOG before and after each call that succeeds. One call in ten raises.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from typing import Any

LOG = "DORM_VECTOR_TEST_EMBED_LOG"
BATCH_SIZE = 8


def vector_of(text: str) -> list[float]:
    """Three numbers, which are those of no other text."""
    digest = hashlib.sha256(text.encode()).digest()
    return [float(int.from_bytes(digest[place : place + 2], "big")) for place in (0, 2, 4)]


def by_name(items: list[Any]) -> list[list[float]]:
    return [vector_of(item.name) for item in items]


class Counting:
    """Numbers its calls, in each process by itself."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, items: list[Any]) -> list[list[float]]:
        self.calls += 1
        return [[float(self.calls), float(os.getpid() % 65536), 1.0] for _ in items]


def refusing(items: list[Any]) -> list[list[float]]:
    """Fails for all that have a 7 in their names."""
    if any("7" in item.name for item in items):
        raise ConnectionError("no 7, please")
    return by_name(items)


def wrong_length(items: list[Any]) -> list[list[float]]:
    return [[1.0, 2.0]] * len(items)


def deadly(items: list[Any]) -> list[list[float]]:
    """Ends its process at once, as the system does where there is no memory left."""
    os._exit(9)


async def eventually(items: list[Any]) -> list[list[float]]:
    return by_name(items)


not_callable = 3


def write(event: str, items: list[Any]) -> None:
    """A line of a file that several processes write to."""
    line = json.dumps([os.getpid(), event, [[item.pk, item.name] for item in items]]) + "\n"
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def logged(items: list[Any]) -> list[list[float]]:
    time.sleep(0.005)  # an API is slow
    if random.random() < 0.1:
        raise ConnectionError("try again")
    write("called", items)
    return by_name(items)


def main(alias: str, name: str) -> None:
    import django
    from django.db import connections

    django.setup()
    connections[alias].settings_dict["NAME"] = name
    from dorm_vector import embed
    from tests.testapp.models import Item

    # Some processes have the key after which they are killed.
    report = embed(
        Item.objects.using(alias), "embedding", logged, batch_size=BATCH_SIZE, backoff=0.001
    )
    print(json.dumps([report.embedded, report.failed, report.skipped, report.calls]))


if __name__ == "__main__":
    main(*sys.argv[1:])


class Unmade:
    """An embedder that lacks what it needs."""

    def __init__(self) -> None:
        raise KeyError("API_KEY")
