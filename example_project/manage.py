#!/usr/bin/env python
"""Django's commands, with the database server that they need."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

STOPPED = 130  # what shells report for Ctrl-C

# Commands that are of no use without a database.
NEEDING = {"demo", "index_library", "migrate", "search", "serve"}


def interrupt_again(unraisable: Any) -> None:
    """Have Ctrl-C come once more if it came while an object was finalized: Python ignores that."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(unraisable)


def main() -> None:
    sys.unraisablehook = interrupt_again
    # Python looks for modules beside this file, and the package is the folder that it is in.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import Error

    from example_project import databases, server

    # SQLite makes files, but no folders.
    databases.DATA_FOLDER.mkdir(exist_ok=True)
    try:
        with server.running():
            if NEEDING.intersection(sys.argv[1:2]):
                require_database()
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(" ".join(str(error).split()))
    except Error as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(databases.unusable(error))


def require_database() -> None:
    """End with one sentence where the database cannot be reached, or takes no such options."""
    import django
    from django.db import connection

    from example_project import databases

    django.setup()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(databases.unusable(error))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(STOPPED)
