"""The app: connections are prepared as they open, and system checks are registered."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.checks import Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections

from dorm_vector.engines import forget_engines
from dorm_vector.engines.preparing import prepare, prepare_classes, prepare_connections

__all__ = ["DormVectorConfig"]


class DormVectorConfig(AppConfig):
    name = "dorm_vector"
    verbose_name = "Vector search"

    def ready(self) -> None:
        from dorm_vector import checks

        checks.register()
        _register_admin_check()
        _register_serializers()
        setting_changed.connect(_on_setting_changed, dispatch_uid="dorm_vector")
        if any(engine.has_arrays for engine in prepare_classes()):
            _register_array_lookups()
        prepare_connections()
        for connection in connections.all(initialized_only=True):
            prepare(connection)


def _register_admin_check() -> None:
    if apps.is_installed("django.contrib.admin"):
        from dorm_vector.admin import check_admin

        register(check_admin, Tags.admin, "dorm_vector")


def _register_serializers() -> None:
    if apps.is_installed("rest_framework"):
        from dorm_vector.contrib import rest_framework

        rest_framework.register()


def _register_array_lookups() -> None:
    try:
        from dorm_vector.contrib import postgres
    except (ImportError, ImproperlyConfigured):  # the driver is not installed
        return
    postgres.register()


def _on_setting_changed(setting: str, **kwargs: object) -> None:
    if setting == "DORM_VECTOR":
        forget_engines()
