from __future__ import annotations

from django.apps import AppConfig


class TextAppConfig(AppConfig):
    name = "tests.textapp"
    default_auto_field = "django.db.models.BigAutoField"
