"""The app of the example."""

from __future__ import annotations

from django.apps import AppConfig


class LibraryConfig(AppConfig):
    name = "example_project.library"
    verbose_name = "Python's standard library"
