"""
Run as a program: one search on SQLite with a pinned tier, in an interpreter of the caller's choice.

Prints JSON. Needs no test library, so that any Python with Django on its path can run it.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import warnings

import django
from django.conf import settings


def main(tier: str | None) -> None:
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["dorm_vector"],
        DORM_VECTOR={"SQLITE_VEC": tier},
    )
    django.setup()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = search()
    report["warnings"] = [str(warning.message) for warning in caught]
    print(json.dumps(report))


def search() -> dict[str, object]:
    from django.core import checks
    from django.db import connection, models

    from dorm_vector import CosineDistance, L1Distance, L2Distance, MaxInnerProduct, VectorField
    from dorm_vector.engines import engine_for

    class Thing(models.Model):
        embedding = VectorField(3, null=True)

        class Meta:
            app_label = "dorm_vector"

    with connection.schema_editor() as editor:
        editor.create_model(Thing)
    Thing.objects.bulk_create(Thing(embedding=vector) for vector in VECTORS)
    functions = (L2Distance, CosineDistance, MaxInnerProduct, L1Distance)
    return {
        "tier": engine_for(connection).tier,
        "found": [
            [
                None if distance is None else str(round(distance, 5))
                for distance in Thing.objects.annotate(d=function("embedding", QUERY))
                .order_by("pk")
                .values_list("d", flat=True)
            ]
            for function in functions
        ],
        "loading": loading_is_on(connection.connection),
        "checks": [message.id for message in checks.run_checks()],
        "details": [
            message.id
            for message in checks.run_checks(tags=["dorm_vector"], include_deployment_checks=True)
        ],
    }


def loading_is_on(raw: sqlite3.Connection) -> bool:
    """Whether SQL or Python could load an extension now."""
    try:
        raw.execute("SELECT load_extension('/nowhere')")
    except sqlite3.OperationalError as error:
        return "not authorized" not in str(error) and "no such function" not in str(error)
    return True


VECTORS = [[1, 2, 3], [0, 0, 0], None, [-1, 0.5, 0.25]]
QUERY = [1, 1, 2]

if __name__ == "__main__":
    main(None if sys.argv[1] == "None" else sys.argv[1])
