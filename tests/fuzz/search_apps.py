from __future__ import annotations

from django.apps import AppConfig


class SearchFuzzConfig(AppConfig):
    """Gives the models of the search fuzzer, which are made at run time, their relations."""

    name = "tests.fuzz"
    label = "searchfuzz"
    default_auto_field = "django.db.models.AutoField"
