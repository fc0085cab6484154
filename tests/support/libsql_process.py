"""Writes to a libSQL file: ``python -m tests.support.libsql_process FILE LABEL ROWS``."""

from __future__ import annotations

import sys

from dorm_vector.backends.libsql import dbapi


def main(path: str, label: str, rows: str) -> None:
    connection = dbapi.connect(path, timeout=30)
    for _ in range(int(rows)):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO written VALUES (?)", [label])
        connection.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
