"""
Run as a program: fills a table that has a VectorIndex, until it is killed.

Prints the number of rows after each commit. The arguments are a file and a journal mode.
"""

from __future__ import annotations

import sys

import django
import numpy as np
from django.conf import settings

from dorm_vector.indexes import VectorIndex

__all__ = ["BATCH", "INDEX", "VECTORS"]

ROWS = 50_000
BATCH = 100
VECTORS = np.random.default_rng(11).normal(size=(ROWS, 8)).astype("<f4")
INDEX = VectorIndex(fields=["embedding"], name="item_index", metric="l2")


def main(file: str, journal: str) -> None:
    database = {
        "ENGINE": "dorm_vector.backends.libsql",
        "NAME": file,
        "OPTIONS": {"init_command": f"PRAGMA journal_mode = {journal}"},
    }
    settings.configure(DATABASES={"default": database}, INSTALLED_APPS=["dorm_vector"])
    django.setup()
    from django.db import connection, transaction

    from dorm_vector import models

    class Item(models.Model):
        id = models.AutoField(primary_key=True)
        embedding = models.VectorField(8)

        class Meta:
            app_label = "shop"
            db_table = "item"
            indexes = [INDEX]

        def __str__(self) -> str:
            return f"Item {self.pk}"

    with connection.schema_editor() as editor:
        editor.create_model(Item)
    print(0, flush=True)
    for start in range(0, ROWS, BATCH):
        with transaction.atomic():
            Item.objects.bulk_create(
                Item(embedding=vector) for vector in VECTORS[start : start + BATCH]
            )
        print(start + BATCH, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
