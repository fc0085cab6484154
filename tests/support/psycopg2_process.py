"""Run as a program: arrays and prepared connections under psycopg2. Prints JSON."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

sys.modules["psycopg"] = None  # type: ignore[assignment]

import django  # noqa: E402
from django.conf import settings  # noqa: E402

from tests.support import postgres  # noqa: E402

NAME = "psycopg2_process"


def main() -> None:
    settings.configure(
        DATABASES={"default": postgres.database()},
        INSTALLED_APPS=["dorm_vector"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    from django.db import connection

    for sql in (f"DROP DATABASE IF EXISTS {NAME}", f"CREATE DATABASE {NAME}"):
        connection.cursor().execute(sql)
    connection.close()
    connection.settings_dict["NAME"] = NAME
    print(json.dumps(report(connection)))


def report(connection: Any) -> dict[str, Any]:
    from django.contrib.postgres.aggregates import ArrayAgg
    from django.contrib.postgres.fields import ArrayField
    from django.db import transaction
    from django.db.migrations.state import ProjectState
    from django.test import modify_settings

    from dorm_vector import VectorExtension, models

    class Things(models.Model):
        vector = models.VectorField(3, null=True)
        vectors = ArrayField(models.VectorField(3), null=True)
        bits = ArrayField(models.BitField(length=3), null=True)
        nested = ArrayField(ArrayField(models.VectorField(2)), null=True)

        class Meta:
            app_label = "dorm_vector"

    scans = [scan(connection)]
    with connection.schema_editor() as editor:
        state = ProjectState()
        VectorExtension().database_forwards("shop", editor, state, state)
        editor.create_model(Things)
    with transaction.atomic():
        Things.objects.create()
        with modify_settings(INSTALLED_APPS={"append": "django.contrib.humanize"}):
            pass
        transaction.set_rollback(True)
    rolled_back = not Things.objects.exists()
    connection.close()
    connection.settings_dict["AUTOCOMMIT"] = False
    connection.connect()
    connection.rollback()
    scans.append(scan(connection))
    rows = Things.objects
    rows.create(vector=[1, 2, 3], vectors=[[1, 2, 3], None], bits=["101", None], nested=[[[1, 2]]])
    row = rows.get()
    return {
        "driver": connection.Database.__name__,
        "scan": scans,
        "rolled back": rolled_back,
        "read": [row.vectors, row.bits, row.nested],
        "found": [
            rows.filter(vectors__contains=[[1, 2, 3]]).count(),
            rows.filter(nested=[[[1, 2]]]).count(),
            rows.filter(bits__overlap=["101"]).count(),
        ],
        "aggregate": rows.aggregate(a=ArrayAgg("vector"))["a"],
        "loaded": loaded(rows, Things),
    }


def loaded(rows: Any, model: Any) -> list[Any]:
    """What bulk_copy() warns of, where an index was dropped meanwhile, and what it loads."""
    from django.db import connection

    from dorm_vector import VectorIndex, bulk_copy

    index = VectorIndex(fields=["vector"], name="things_vector", metric="l2")
    model._meta.indexes.append(index)
    with connection.schema_editor() as editor:
        editor.add_index(model, index)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        bulk_copy(
            rows,
            (model(vector=[4, 5, number]) for number in range(3)),
            rebuild_indexes=True,
            maintenance_work_mem="64MB",
            workers=0,
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE indexname = 'things_vector'")
        (indexes,) = cursor.fetchone()
    found = list(rows.filter(vectors=None).order_by("pk").values_list("vector", flat=True))
    return [str(warning.message) for warning in caught] + [indexes, found]


def scan(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('hnsw.iterative_scan', true)")
        (found,) = cursor.fetchone()
    return str(found)


if __name__ == "__main__":
    main()
