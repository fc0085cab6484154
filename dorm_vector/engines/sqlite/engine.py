"""SQLite with the sqlite-vec extension, through Django's own backend."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Info, Warning  # noqa: A004
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Model

from dorm_vector import codecs, conf
from dorm_vector.declarations import may_hold_vectors
from dorm_vector.engines.base.expressions import COSINE_IN_RANGE
from dorm_vector.engines.preparing import prepare, prepare_connections
from dorm_vector.engines.side_tables import WATCHED
from dorm_vector.engines.side_tables.fts5 import FullTextEngine
from dorm_vector.engines.side_tables.schema import SchemaObject, Site
from dorm_vector.engines.sqlite import functions as sqlite_functions
from dorm_vector.engines.sqlite import schema as schema  # the editor with side tables
from dorm_vector.engines.sqlite import writes
from dorm_vector.engines.sqlite.bytes import coding_for, shift_of
from dorm_vector.engines.sqlite.chunks import chunk_option
from dorm_vector.engines.sqlite.extension import best_tier, load_first, warn_of_fallback
from dorm_vector.engines.sqlite.extremes import (
    GREATEST,
    HAS_DIRECTION,
    LEAST,
    LENGTH,
    ORDINARY,
    in_range,
)
from dorm_vector.engines.sqlite.inspection import SQLiteInspection
from dorm_vector.engines.sqlite.search import QUANTIZED, SQLiteSearch, built_precision
from dorm_vector.kinds import DENSE_KINDS
from dorm_vector.sql import literal, word

# Limits of vec0; source: https://github.com/asg017/sqlite-vec, sqlite-vec.c.
MAX_DIMENSIONS = 8192

BLOB = "typeof({column}) IN ('blob', 'null')"

NORM = f"COALESCE(NULLIF(NULLIF(max({LENGTH}, {LEAST}), {LEAST}), 9e999), dorm_norm({{a}}))"
NORMALIZE = f"CASE WHEN {ORDINARY} THEN vec_normalize({{a}}) ELSE dorm_normalize({{a}}) END"
# Of two sets of bits, from the number that are in one of them only, and the size of each.
SIZE = "vec_distance_hamming(vec_bit({name}), vec_bit(zeroblob(length({name}))))"
BOTH = f"({SIZE.format(name='{a}')} + {SIZE.format(name='{b}')})"
DIFFERENT = "vec_distance_hamming(vec_bit({a}), vec_bit({b}))"
JACCARD = (
    f"CASE WHEN {BOTH} = {DIFFERENT} THEN 1.0 ELSE 2.0 * {DIFFERENT} / ({BOTH} + {DIFFERENT}) END"
)

COSINE_EXACTLY = "dorm_cosine({a}, {b})"

# The functions with the prefix dorm_ come from ``sqlite_functions``.
FUNCTIONS = {
    "norm": dict.fromkeys(DENSE_KINDS, NORM),
    "dims": dict.fromkeys(DENSE_KINDS, "length({a}) / 4"),
    "normalize": {
        "vector": NORMALIZE,
        "halfvec": f"dorm_half({NORMALIZE})",
    },
    "subvector": dict.fromkeys(DENSE_KINDS, "substr({a}, 4 * {start} - 3, 4 * {length})"),
    "quantize": dict.fromkeys(DENSE_KINDS, QUANTIZED),
    "add": {"vector": "dorm_finite(vec_add({a}, {b}))", "halfvec": "dorm_half(vec_add({a}, {b}))"},
    "subtract": {
        "vector": "dorm_finite(vec_sub({a}, {b}))",
        "halfvec": "dorm_half(vec_sub({a}, {b}))",
    },
    "multiply": {
        "vector": "dorm_multiply({a}, {b})",
        "halfvec": "dorm_half(dorm_multiply({a}, {b}))",
    },
    "concat": dict.fromkeys(DENSE_KINDS, "CAST({a} || {b} AS BLOB)"),
    "json": dict.fromkeys(DENSE_KINDS, "dorm_json({a})"),
    "sum": {"vector": "dorm_sum({a}){filter}", "halfvec": "dorm_half(dorm_sum({a}){filter})"},
    "avg": {"vector": "dorm_avg({a}){filter}", "halfvec": "dorm_half(dorm_avg({a}){filter})"},
}

# An index is a vec0 table. sqlite-vec would report success if it were renamed.
DROP = (
    "DROP TRIGGER IF EXISTS %(insert)s",
    "DROP TRIGGER IF EXISTS %(delete)s",
    "DROP TRIGGER IF EXISTS %(update)s",
    "DROP TABLE IF EXISTS %(index)s",
)
CREATE = (
    "CREATE VIRTUAL TABLE %(index)s %(mark)s %(coding)sUSING vec0(vector %(element)s)",
    "INSERT INTO %(index)s (rowid, vector) "
    "SELECT %(pk)s, %(value)s FROM %(table)s WHERE %(storable)s",
    # OR REPLACE removes rows without a DELETE that a trigger would see.
    "CREATE TRIGGER %(insert)s %(mark)s AFTER INSERT ON %(table)s BEGIN "
    "DELETE FROM %(index)s WHERE rowid = NEW.%(pk)s; "
    "INSERT INTO %(index)s (rowid, vector) "
    "SELECT NEW.%(pk)s, %(value_new)s WHERE %(storable_new)s; END",
    "CREATE TRIGGER %(delete)s %(mark)s AFTER DELETE ON %(table)s BEGIN "
    "DELETE FROM %(index)s WHERE rowid = OLD.%(pk)s; END",
    f"CREATE TRIGGER %(update)s %(mark)s AFTER UPDATE{WATCHED} ON %(table)s BEGIN "  # noqa: S608 - quoted
    "DELETE FROM %(index)s WHERE rowid = OLD.%(pk)s; "
    "DELETE FROM %(index)s WHERE rowid = NEW.%(pk)s; "
    "INSERT INTO %(index)s (rowid, vector) "
    "SELECT NEW.%(pk)s, %(value_new)s WHERE %(storable_new)s; "
    # That of a FreshVector may have been before, and the vector be NULL by now.
    "DELETE FROM %(index)s WHERE rowid = NEW.%(pk)s AND EXISTS "
    "(SELECT 1 FROM %(table)s WHERE %(pk)s = NEW.%(pk)s AND %(column)s IS NULL); END",
)

# The tables in which vec0 keeps its rows.
SHADOWS = {
    "info": " (key text primary key, value any)",
    "chunks": "(chunk_id INTEGER PRIMARY KEY AUTOINCREMENT,size INTEGER NOT NULL,"
    "validity BLOB NOT NULL,rowids BLOB NOT NULL)",
    "rowids": "(rowid INTEGER PRIMARY KEY AUTOINCREMENT,id,chunk_id INTEGER,chunk_offset INTEGER)",
    "vector_chunks00": "(rowid PRIMARY KEY,vectors BLOB NOT NULL)",
}

SELF_DISTANCES = {
    "l2": "vec_distance_l2",
    "l1": "vec_distance_l1",
    "cosine": "vec_distance_cosine",
}

# A distance from itself is undefined for NULL, zero by cosine, NaN and infinity; and by cosine for
# extreme vectors.
STORABLE = {
    metric: (
        "CASE WHEN {row}%(column)s IS NOT NULL "
        f"THEN {function}({{row}}%(column)s, {{row}}%(column)s) END IS NOT NULL"
    )
    for metric, function in SELF_DISTANCES.items()
}
DIRECTED = (
    "CASE WHEN {row}%(column)s IS NOT NULL "
    f"THEN {HAS_DIRECTION.replace('{a}', '{row}%(column)s')} END IS 1"
)

# SQLite forgets that a value is of bits or bytes where a SELECT hands it over in a trigger that has
# written to the table before: a row of VALUES goes in, and out again if it should not be there.
ADD = "SELECT NEW.%(pk)s, %(value_new)s WHERE %(storable_new)s"
ADD_VALUES = (
    "VALUES (NEW.%(pk)s, %(value_new)s); "
    "DELETE FROM %(index)s WHERE rowid = NEW.%(pk)s AND NOT (%(storable_new)s)"
)


@functools.cache
def _lacks_fts5(driver: Any) -> bool:
    with contextlib.closing(driver.connect(":memory:")) as raw:
        try:
            raw.execute("CREATE VIRTUAL TABLE words USING fts5(c)")
        except driver.OperationalError:
            return True
    return False


@functools.cache
def _fts5_needs_trust(driver: Any) -> bool:
    """Whether trusted_schema=OFF keeps triggers from FTS5 too, as in older SQLites."""
    with contextlib.closing(driver.connect(":memory:")) as raw:
        for statement in (
            "PRAGMA trusted_schema = OFF",
            "CREATE TABLE texts (c)",
            "CREATE VIRTUAL TABLE words USING fts5(c)",
            "CREATE TRIGGER t AFTER INSERT ON texts BEGIN DELETE FROM words; END",
        ):
            raw.execute(statement)
        try:
            raw.execute("INSERT INTO texts VALUES (1)")
        except driver.OperationalError:
            return True
    return False


class SQLiteEngine(SQLiteInspection, SQLiteSearch, FullTextEngine):
    """sqlite-vec's functions over packed float32 in BLOB columns."""

    name = "sqlite"

    # sqlite-vec has no float16: vectors of half precision are rounded, and stored as the others.
    column_types = {"vector": "blob", "halfvec": "blob", "bit": "blob"}
    # length() of the four bytes a component, since vec_length() would break INSERT and VACUUM on a
    # connection without the extension; typeof(), because length() of text counts characters.
    # The other way of writing it tells halves to who reads the schema.
    column_checks = {
        "vector": f"{BLOB} AND length({{column}}) = 4*{{dimensions}}",
        "halfvec": f"{BLOB} AND length({{column}}) = 2*2*{{dimensions}}",
        "bit": f"{BLOB} AND length({{column}}) = {{bytes}}{{padding}}",
    }
    # An undefined distance is NULL to sqlite-vec, which would sort first. SQLite stores no NaN, and
    # infinity is its greatest number: distances read it as NaN. sqlite-vec has no inner product.
    distances = {
        "l2": "COALESCE(vec_distance_l2({a}, {b}), 9e999)",
        "cosine": "vec_distance_cosine({a}, {b})",
        "ip": "dorm_ip({a}, {b})",
        "l1": "COALESCE(vec_distance_l1({a}, {b}), 9e999)",
        "hamming": "vec_distance_hamming(vec_bit({a}), vec_bit({b}))",
        "jaccard": JACCARD,
    }
    # Products that overflow leave a cosine of 0.
    checked = {
        "cosine": (
            f"COALESCE({COSINE_IN_RANGE}, CASE WHEN {{distance}} = 1.0 AND {{norm_a}} < {GREATEST} "
            f"AND {{norm_b}} < {GREATEST} THEN 1.0 ELSE {COSINE_EXACTLY} END)"
        ),
    }
    exact_distances = {"cosine": COSINE_EXACTLY}
    functions = FUNCTIONS
    conversions = {("vector", "halfvec"): "dorm_half({a})", ("halfvec", "vector"): "{a}"}
    layouts = dict.fromkeys(DENSE_KINDS, codecs.Layout())
    guards_null = True
    undefined = ("9e999", "-9e999")
    # They are Python's, which are handed the NULLs too.
    fails_on_null = frozenset({"StdDev", "Variance"})
    defined_templates = ("{distance} < 9e999", "{distance} < 9e999")
    # Components may be zeros of either sign; the distance is only asked where the first one is, or
    # where its bytes are less: comparing the beginning of a blob costs less than a function.
    nonzero_templates = dict.fromkeys(DENSE_KINDS, "({a} >= X'00000081' OR {distance} < 9e999)")

    create_templates = CREATE
    drop_templates = DROP
    of_table = dict.fromkeys(("insert", "delete", "update"), "trigger")
    shadows = SHADOWS
    storable = {**STORABLE, "cosine": f"({STORABLE['cosine']} OR {DIRECTED})"}
    index_dimensions = dict.fromkeys(DENSE_KINDS, MAX_DIMENSIONS)
    maker = "sqlite-vec"

    #: How sqlite-vec got into the connection; see ``load_sqlite_vec_extension``.
    tier: str | None = None
    #: Whether triggers may write to virtual tables here; None before the connection was open.
    trusting: bool | None = None

    # Building

    def _why_no_vectors(self, index: Any, model: type[Model]) -> str | None:
        if reason := super()._why_no_vectors(index, model):
            return reason
        key = model._meta.pk
        # What makes a column one of integers to SQLite; a relation has the type of its target.
        if "INT" not in (key.db_type(self.connection) or "").upper():
            class_name = type(key).__name__
            return f"sqlite-vec needs an integer primary key, not {class_name}"
        if (self.tier or best_tier(conf.get("SQLITE_VEC"))[0]) == "python":
            return "The Python functions that replace sqlite-vec have no index"
        if not self._is_trusting():
            return "SQLite lets no trigger write to sqlite-vec's tables under trusted_schema=OFF"
        return None

    def lacks_fts5(self) -> bool:
        return _lacks_fts5(self.connection.Database)

    def why_words_not_kept(self) -> str | None:
        if self._is_trusting() or not _fts5_needs_trust(self.connection.Database):
            return None
        return "SQLite lets no trigger write to FTS5's tables under trusted_schema=OFF"

    def _is_trusting(self) -> bool:
        if self.trusting is None:  # the connection has not been open yet
            options = self.connection.settings_dict.get("OPTIONS") or {}
            return writes.trusts_schema(options.get("init_command", ""))
        return self.trusting

    def _parts(
        self, index: Any, model: type[Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> dict[str, Any]:
        parts = super()._parts(index, model, schema_editor)
        size = min(parts["dimensions"], index.prefix or parts["dimensions"])
        coding, precision = "", built_precision(index)
        if precision == "bit":
            element, width = f"bit[{(size + 7) // 8 * 8}]", size // 8
        elif precision == "int8":
            element, width = f"int8[{literal(size)}] distance_metric=l2", size
            coding = f"{coding_for(size).note} "
        else:
            metric = word(index.metric)
            element, width = f"float[{literal(size)}] distance_metric={metric}", 4 * size
        element += chunk_option(width)
        return {**parts, "element": element, "coding": coding}

    def _drop(self, site: Site, found: SchemaObject, endings: set[str]) -> list[str]:
        """
        A side table is dropped as a whole: without its shadows sqlite-vec fails, and later crashes.

        Without sqlite-vec it stays. No search goes to a side table without triggers.
        """
        drop = super()._drop(site, found, endings)
        of_index = found.type == "table" and found.name.lower() == site.name.lower()
        if site.method != "vector" or not of_index:
            return drop
        if not self._has_vec0():
            return []
        quote = self.connection.ops.quote_name
        gone = [end for end in self.shadows if end not in endings]
        return [*(f"CREATE TABLE {quote(f'{site.name}_{end}')} (x)" for end in gone), *drop]

    def _has_vec0(self) -> bool:
        modules = self.connection.connection.execute("PRAGMA module_list").fetchall()
        return ("vec0",) in modules

    def stored_value(self, index: Any, dimensions: int) -> str:
        precision = built_precision(index)
        vector = "COALESCE({row}%(column)s, zeroblob(4 * %(dimensions)s))"
        if precision == "bit":
            return QUANTIZED.replace("{a}", vector)
        if precision == "int8":
            coding = coding_for(dimensions)
            shift = f"X{literal(shift_of(dimensions).hex())}"
            return coding.rounded(in_range(vector, coding.lengthened), shift)
        if index.prefix:
            return f"substr({{row}}%(column)s, 1, {literal(4 * index.prefix)})"
        value = super().stored_value(index, dimensions)
        return in_range(value, str) if index.metric == "cosine" else value

    def templates(self, index: Any) -> tuple[str, ...]:
        if built_precision(index) not in ("bit", "int8"):
            return super().templates(index)
        return tuple(template.replace(ADD, ADD_VALUES) for template in super().templates(index))

    # Connections

    def prepare(self) -> None:
        pinned, raw = conf.get("SQLITE_VEC"), self.connection.connection
        if pinned:
            self.tier, reasons = load_first(raw, pinned)
            # Without vectors it slows nothing down.
            if reasons and self.tier == "python" and self._may_hold_vectors():
                warn_of_fallback(reasons)
        sqlite_functions.register_own(raw)
        self.trusting = writes.is_trusting(raw)
        self._explain_refusals(not (self.trusting and self._has_vec0()))

    def _explain_refusals(self, refused: bool) -> None:
        wrappers = self.connection.execute_wrappers
        if writes.explain_refusals in wrappers:
            wrappers.remove(writes.explain_refusals)
        if refused:
            wrappers.append(writes.explain_refusals)

    def _may_hold_vectors(self) -> bool:
        return apps.models_ready and may_hold_vectors([self.connection.alias])

    def check(self) -> list[CheckMessage]:
        tier, reasons = best_tier(conf.get("SQLITE_VEC"))
        return [message(reasons) for name, message in MESSAGES.items() if name == tier]

    def check_settings(self, *, is_indexed: bool) -> list[CheckMessage]:
        if not is_indexed or self._is_trusting():
            return []
        return [
            Warning(
                "PRAGMA trusted_schema=OFF lets no trigger write to sqlite-vec's tables: a "
                "VectorIndex is not built, and a table that has one cannot be written (database "
                f"{self.connection.alias!r}).",
                hint=(
                    "Leave it out of OPTIONS['init_command']; or run manage.py vector_reindex, "
                    "which drops the triggers, and search without an index."
                ),
                id="dorm_vector.W008",
            )
        ]

    def enable(self, schema_editor: BaseDatabaseSchemaEditor, *, schema: str | None = None) -> None:
        """Load sqlite-vec here, and have every later connection load it too."""
        prepare_connections()
        self.connection.ensure_connection()
        prepare(self.connection)


CHOSEN = "as DORM_VECTOR['SQLITE_VEC'] says"


def _native(reasons: str) -> CheckMessage:
    return Info(
        f"sqlite-vec is loaded through SQLite's C interface, at full speed ({reasons or CHOSEN}).",
        id="dorm_vector.I001",
    )


def _python(reasons: str) -> CheckMessage:
    return Warning(
        f"Python functions replace sqlite-vec, and are many times slower ({reasons or CHOSEN}).",
        hint="Install dorm-vector[sqlite] on a Python whose SQLite can load extensions.",
        id="dorm_vector.W001",
    )


def _unavailable(reasons: str) -> CheckMessage:
    return Error(
        f"DORM_VECTOR['SQLITE_VEC'] asks for what is not possible here: {reasons}",
        id="dorm_vector.E002",
    )


MESSAGES = {"native": _native, "python": _python, "unavailable": _unavailable}
