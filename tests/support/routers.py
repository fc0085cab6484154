from __future__ import annotations

from typing import Any

ONLY_POSTGRESQL = {"arrays", "sparse"}


class OnlyPostgreSQL:
    """Keeps models that need PostgreSQL away from the other databases."""

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        if app_label == "testapp" and model_name in ONLY_POSTGRESQL:
            return db == "postgresql"
        return None
