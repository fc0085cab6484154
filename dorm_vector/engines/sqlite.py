"""SQLite with the sqlite-vec extension, through Django's own backend."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Info, Warning  # noqa: A004

from dorm_vector import conf
from dorm_vector.engines.base import Engine
from dorm_vector.engines.sqlite_vec import best_tier, load_sqlite_vec_extension


class SQLiteEngine(Engine):
    """sqlite-vec's functions over packed float32 in BLOB columns."""

    name = "sqlite"

    column_types = {"vector": "blob"}
    # length() of the four bytes a component, since vec_length() would break INSERT and VACUUM on a
    # connection without the extension; typeof(), because length() of text counts characters.
    column_checks = {
        "vector": "typeof({column}) IN ('blob', 'null') AND length({column}) = 4*{dimensions}"
    }
    # An undefined cosine distance is NULL to sqlite-vec, which would sort first. SQLite stores no
    # NaN, and infinity is its greatest number: CosineDistance reads it as NaN.
    distances = {
        "l2": "vec_distance_l2({a}, {b})",
        "cosine": "COALESCE(vec_distance_cosine({a}, {b}), 9e999)",
        "ip": "COALESCE((vec_distance_cosine({a}, {b}) - 1) * {norm_a} * {norm_b}, 0.0)",
        "l1": "vec_distance_l1({a}, {b})",
    }
    norm_template = "vec_distance_l2({a}, zeroblob(length({a})))"
    guards_null = True

    #: How sqlite-vec got into the connection; see ``load_sqlite_vec_extension``.
    tier: str | None = None

    def prepare(self) -> None:
        pinned = conf.get("SQLITE_VEC")
        self.tier = pinned and load_sqlite_vec_extension(self.connection.connection, tier=pinned)

    def check(self) -> list[CheckMessage]:
        tier, reasons = best_tier(conf.get("SQLITE_VEC"))
        return [message(reasons) for name, message in MESSAGES.items() if name == tier]

    def enable(self, schema_editor: Any) -> None:
        """Load sqlite-vec here, and see to it that every later connection loads it too."""
        from dorm_vector.apps import prepare_connections

        prepare_connections()
        self.connection.ensure_connection()
        self.prepare()


CHOSEN = "as DORM_VECTOR['SQLITE_VEC'] says"


def _native(reasons: str) -> CheckMessage:
    return Info(
        f"sqlite-vec is loaded through SQLite's C interface, at full speed ({reasons or CHOSEN}).",
        id="dorm_vector.I001",
    )


def _python(reasons: str) -> CheckMessage:
    return Warning(
        f"Python functions stand in for sqlite-vec, many times slower ({reasons or CHOSEN}).",
        hint="Install dorm-vector[sqlite] on a Python whose SQLite can load extensions.",
        id="dorm_vector.W001",
    )


def _unavailable(reasons: str) -> CheckMessage:
    return Error(
        f"DORM_VECTOR['SQLITE_VEC'] names a way that cannot be gone here: {reasons}",
        id="dorm_vector.E002",
    )


MESSAGES = {"native": _native, "python": _python, "unavailable": _unavailable}
