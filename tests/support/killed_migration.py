"""A process that runs an operation on the table of a test, to be killed on the way."""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings
from django.db import connections

__all__ = ["articles", "change"]


def articles() -> Any:
    """What makes the table, with an index and a constraint."""
    from django.db import migrations

    from dorm_vector import FreshVector, VectorIndex, models

    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.TextField(default="a")),
        ("embedding", models.VectorField(8, null=True)),
    ]
    options = {
        "indexes": [VectorIndex(fields=["embedding"], name="article_vec", metric="l2")],
        "constraints": [FreshVector(field="embedding", of=["title"], name="article_fresh")],
    }
    return migrations.CreateModel("Article", fields, options)


def change(existing: str) -> Any:
    from dorm_vector import ChangeVectorDimensions, models

    field = models.HalfVectorField(6, null=True)
    return ChangeVectorDimensions("article", "embedding", field, existing=existing)


def main(database: dict[str, Any], existing: str, backwards: bool) -> None:
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}, "scratch": database},
        INSTALLED_APPS=["dorm_vector"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()
    from tests.support.migrating import Project

    project = Project()
    operations = [articles(), change(existing)]
    for operation in operations[: 2 if backwards else 1]:
        state = project.state.clone()
        operation.state_forwards("shop", state)
        project.states.append(state)
    connections["scratch"].ensure_connection()
    print("ready", flush=True)
    if backwards:
        project.undo(operations[1])
    else:
        project.run(operations[1])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3] == "backwards")
