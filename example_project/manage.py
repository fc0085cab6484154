#!/usr/bin/env python
"""Django's commands, with the database server that they need."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    # Python looks for modules beside this file, and the package is the folder that it is in.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from example_project import databases, server

    # SQLite makes files, but no folders.
    databases.DATA_FOLDER.mkdir(exist_ok=True)
    try:
        with server.running():
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
