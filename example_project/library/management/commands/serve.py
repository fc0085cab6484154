"""``manage.py serve`` opens the search page to a browser on this machine."""

from __future__ import annotations

import socket
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

HOST = "127.0.0.1"


class Command(BaseCommand):
    help = "Serve the search page on this machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("port", nargs="?", type=int, default=8000)

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        require_free(port)
        call_command("migrate", verbosity=0)
        # The reloader would run this command a second time, with the database server in the first.
        call_command("runserver", f"{HOST}:{port}", use_reloader=False)


def require_free(port: int) -> None:
    """runserver ends the process on the spot where the port is taken, and nothing is stopped."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"Port {port} cannot be used ({error}); name another: manage.py serve 8001"
            ) from error
