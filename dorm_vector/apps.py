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

# With these backends alone, django.contrib.postgres need not be imported.
WITHOUT_ARRAYS = frozenset(
    {
        "django.contrib.gis.db.backends.spatialite",
        "django.db.backends.dummy",
        "django.db.backends.mysql",
        "django.db.backends.oracle",
        "django.db.backends.sqlite3",
        "dorm_vector.backends.libsql",
    }
)


class DormVectorConfig(AppConfig):
    name = "dorm_vector"
    verbose_name = "Vector search"

    def ready(self) -> None:
        from dorm_vector import checks

        checks.register()
        _register_admin_check()
        _register_serializers()
        setting_changed.connect(_on_setting_changed, dispatch_uid="dorm_vector")
        _register_array_lookups()
        prepare_classes()
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
    """Where there is PostgreSQL, and so Django's ArrayField can be imported."""
    if all(settings["ENGINE"] in WITHOUT_ARRAYS for settings in connections.settings.values()):
        return
    try:
        from dorm_vector.contrib import postgres
    except (ImportError, ImproperlyConfigured):  # no driver for PostgreSQL
        return
    postgres.register()


def _on_setting_changed(setting: str, **kwargs: object) -> None:
    if setting == "DORM_VECTOR":
        forget_engines()
