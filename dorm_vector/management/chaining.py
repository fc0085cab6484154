"""Commands that extend the one of the same name that a project would have."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management import find_commands
from django.core.management.base import BaseCommand

__all__ = ["others_command"]


def others_command(name: str) -> type[BaseCommand] | None:
    """The command of that name in the first other app that has one, or None."""
    for config in apps.get_app_configs():
        folder = os.path.join(config.path, "management")
        if config.name != "dorm_vector" and name in find_commands(folder):
            module: Any = import_module(f"{config.name}.management.commands.{name}")
            command: type[BaseCommand] = module.Command
            return command
    return None
