"""libSQL, with its own vectors and its own index, DiskANN."""

from __future__ import annotations

import re
from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Model

from dorm_vector import codecs
from dorm_vector.engines.base.expressions import COSINE_IN_RANGE
from dorm_vector.engines.libsql import schema as schema  # the editor with side tables
from dorm_vector.engines.libsql.functions import (
    CONVERSIONS,
    FLOAT32_NORM,
    FUNCTIONS,
    GREATEST,
    LEAST,
)
from dorm_vector.engines.libsql.inspection import LibSQLInspection
from dorm_vector.engines.libsql.search import KEY, OWN_KEY, LibSQLSearch
from dorm_vector.engines.side_tables import WATCHED
from dorm_vector.engines.side_tables.fts5 import FullTextEngine
from dorm_vector.sql import SQL, Operand, fill, literal, word

__all__ = ["LibSQLEngine"]

# The value of an undefined cosine distance: the greatest finite number, since a server cannot send
# infinity.
UNDEFINED = "1.7976931348623157e308"

COLUMN_KEY = KEY.format(vector="%(column)s")
NEW_KEY = KEY.format(vector="NEW.%(column)s")

# The graph loses rows when vectors are equal, rows are deleted, or vectors change. So it is over a
# table of its own that holds each vector that ever existed once; rows are found by their vectors.
# It is created empty: on a server, CREATE INDEX does not see existing rows.
DROP = (
    "DROP TRIGGER IF EXISTS %(insert)s",
    "DROP TRIGGER IF EXISTS %(update)s",
    "DROP TRIGGER IF EXISTS %(delete)s",
    "DROP INDEX IF EXISTS %(rows)s",
    "DROP TABLE IF EXISTS %(index)s",
)
ADD = (
    "INSERT INTO %(index)s (vector) "  # noqa: S608 - quoted
    "SELECT NEW.%(column)s WHERE %(storable_new)s AND NOT EXISTS "
    f"(SELECT 1 FROM %(index)s WHERE {OWN_KEY} = {NEW_KEY} AND vector = NEW.%(column)s)"
)
CREATE = (
    "CREATE TABLE %(index)s %(mark)s (id INTEGER PRIMARY KEY, vector %(type)s NOT NULL)",
    f"CREATE INDEX %(vectors)s %(mark)s ON %(index)s ({OWN_KEY})",
    "CREATE INDEX %(graph)s %(mark)s ON %(index)s (libsql_vector_idx(vector, %(parameters)s))",
    f"CREATE INDEX %(rows)s %(mark)s ON %(table)s ({COLUMN_KEY})",
    "INSERT INTO %(index)s (vector) SELECT DISTINCT %(column)s FROM %(table)s WHERE %(storable)s",
    f"CREATE TRIGGER %(insert)s %(mark)s AFTER INSERT ON %(table)s BEGIN {ADD}; END",
    f"CREATE TRIGGER %(update)s %(mark)s AFTER UPDATE{WATCHED} ON %(table)s BEGIN {ADD}; END",
    # With its last vector a graph is as new. Without WHERE libSQL would empty the table alone, and
    # take no vector any more.
    "CREATE TRIGGER %(delete)s %(mark)s AFTER DELETE ON %(table)s "
    "WHEN NOT EXISTS (SELECT 1 FROM %(table)s) BEGIN DELETE FROM %(index)s WHERE id > 0; END",
)

# The graph's parameters where the index has no others; docs/performance.rst has the measurements.
# Uncompressed edges are large, and alpha above 1 leaves vectors out that are close to others.
PARAMETERS = {"max_neighbors": 20, "compress_neighbors": "float8", "alpha": 1.0}

BLOB = "typeof({column}) IN ('blob', 'null')"

# libSQL's distance of bits is Hamming's, under the name of the cosine distance.
HAMMING = "vector_distance_cos({a}, {b})"
BOTH = "(vector_distance_cos({a}, {zero}) + vector_distance_cos({b}, {zero}))"
JACCARD = f"CASE WHEN {BOTH} = {HAMMING} THEN 1.0 ELSE 2.0 * {HAMMING} / ({BOTH} + {HAMMING}) END"

NAME = re.compile(r"[A-Za-z_]\w*", re.A)


# The last byte of a vector of float16.
FLOAT16 = b"\x05"


def _tail(operand: Operand) -> str:
    """
    What follows the bytes of libSQL's bits.

    They are padded to an even number of bytes with the first of two, which says how many bits at
    its end do not count. The second one is the type.
    """
    bits = operand.dimensions or 0
    length = (bits + 7) // 8
    padding = "" if length % 2 else "00"
    unused = 8 * (length + (1 if length % 2 else 2)) - bits
    return f"X'{padding}{unused:02X}03'"


# Vectors of float64 have the exact distances.
COSINE64 = "vector_distance_cos(vector64({a}), vector64({b}))"
COSINE_EXACTLY = f"COALESCE({COSINE64}, {UNDEFINED})"
L2_64 = "vector_distance_l2(vector64({a}), vector64({b}))"
# There is no inner product function. Zero vectors have a product, although no cosine.
IP64 = (
    f"COALESCE(({COSINE64} - 1) * {{norm_a}} * {{norm_b}}, "
    f"CASE WHEN {{norm_a}} * {{norm_b}} = 0 THEN 0.0 ELSE {UNDEFINED} END)"
)
PRODUCT = "(vector_distance_cos({a}, {b}) - 1) * {norm_a} * {norm_b}"
# What it errs by at most, of the norms' product, since the distances are float32: measured.
ERROR = 3e-7
# By the least norms' products that are beyond it: halves, quarters and the like, of which a product
# that may be one is taken for one. Each step is many times the error.
STEPS = {2**4: 2**-14, 2**10: 2**-8, 2**16: 0.25, 2**18: 1}
STEP = " ".join(f"WHEN dorm_s < {scale} THEN {step!r}" for scale, step in STEPS.items())
# Products of whole numbers are whole ones, and equal ones are equal. Beyond the steps it is NULL.
ROUNDED = (
    f"(SELECT CASE WHEN abs(dorm_p - dorm_w) <= {ERROR} * dorm_s THEN dorm_w ELSE dorm_p END "  # noqa: S608
    "FROM (SELECT dorm_p, dorm_s, round(dorm_p / dorm_g) * dorm_g AS dorm_w "
    f"FROM (SELECT dorm_p, dorm_s, CASE {STEP} END AS dorm_g "
    "FROM (SELECT (dorm_c - 1) * dorm_a * dorm_b AS dorm_p, dorm_a * dorm_b AS dorm_s))))"
)
# The same, each part of it looked at.
IP = (
    "(SELECT CASE WHEN dorm_c BETWEEN -1e-3 AND 2.001 "  # noqa: S608 - templates
    f"AND dorm_a BETWEEN {LEAST} AND {GREATEST} AND dorm_b BETWEEN {LEAST} AND {GREATEST} "
    f"THEN {ROUNDED} ELSE {IP64} END "
    "FROM (SELECT vector_distance_cos({a}, {b}) AS dorm_c, "
    "{norm32_a} AS dorm_a, {norm32_b} AS dorm_b))"
)


class LibSQLEngine(LibSQLInspection, LibSQLSearch, FullTextEngine):
    """libSQL's vector functions over packed float32."""

    name = "libsql"

    column_types = {
        "vector": "F32_BLOB({dimensions})",
        "halfvec": "F16_BLOB({dimensions})",
        "bit": "BLOB",
    }
    # The column's type checks nothing.
    column_checks = {
        "vector": f"{BLOB} AND length({{column}}) = 4*{{dimensions}}",
        "halfvec": f"{BLOB} AND length({{column}}) = 2*{{dimensions}}+1",
        "bit": f"{BLOB} AND length({{column}}) = {{bytes}}{{padding}}",
    }
    # libSQL gives NULL for an undefined distance, which would sort first.
    distances = {
        "l2": "vector_distance_l2({a}, {b})",
        "cosine": "vector_distance_cos({a}, {b})",
        "ip": PRODUCT,
        "hamming": HAMMING,
        "jaccard": JACCARD,
    }
    trusted = {"l2": f"{{distance}} BETWEEN {LEAST} AND 3e38"}
    # Overflowing products give a cosine of 0.
    checked = {"cosine": f"COALESCE({COSINE_IN_RANGE}, {COSINE_EXACTLY})"}
    exact_distances = {
        "l2": f"COALESCE(NULLIF({L2_64}, 9e999), {UNDEFINED})",
        "cosine": COSINE_EXACTLY,
        "ip": IP64,
    }
    functions = FUNCTIONS
    conversions = CONVERSIONS
    layouts = {"vector": codecs.Layout(), "halfvec": codecs.Layout("e", trailer=len(FLOAT16))}
    alternatives = {"l1": "Use L2Distance, or another database."}
    guards_null = True
    binds_operands = True
    undefined = (UNDEFINED, f"-{UNDEFINED}")
    defined_templates = (f"{{distance}} < {UNDEFINED}", f"{{distance}} < {UNDEFINED}")
    # The distance is only computed if the first component may be a zero of either sign.
    nonzero_templates = {
        "vector": f"({{a}} >= X'00000081' OR {{distance}} < {UNDEFINED})",
        "halfvec": f"({{a}} >= X'0081' OR {{distance}} < {UNDEFINED})",
    }

    create_templates = CREATE
    drop_templates = DROP
    of_table = {**dict.fromkeys(("insert", "update", "delete"), "trigger"), "rows": "index"}
    signs = {
        "insert": 'INSERTINTO"{index}"',
        "update": 'INSERTINTO"{index}"',
        "delete": 'DELETEFROM"{index}"',
        "rows": ",1,16)||substr(",
    }
    of_side_table = dict.fromkeys(("graph", "vectors"), "index")
    shadows = {
        "graph_shadow": " (index_key  INTEGER , data BLOB, PRIMARY KEY (index_key))",
        "graph_shadow_idx": " ON {index}_graph_shadow (index_key)",
    }
    storable = {
        # A distance from itself is undefined for NULL, zero by cosine, NaN and infinity.
        "l2": (
            "CASE WHEN {row}%(column)s IS NOT NULL "
            "THEN vector_distance_l2({row}%(column)s, {row}%(column)s) END IS NOT NULL"
        ),
        "cosine": (
            "CASE WHEN {row}%(column)s IS NOT NULL "
            "THEN vector_distance_cos({row}%(column)s, {row}%(column)s) END IS NOT NULL"
        ),
    }
    index_dimensions = {"vector": 65_536, "halfvec": 65_536}
    maker = "libSQL"

    # Values

    def encode(self, packed: Any, kind: str = "vector") -> Any:
        if kind == "halfvec":
            return codecs.to_float16(codecs.from_packed(packed)) + FLOAT16
        return super().encode(packed, kind)

    def _decode_bytes(self, value: bytes, kind: str, dimensions: int | None) -> Any:
        if kind == "halfvec":
            return codecs.from_float16(value[:-1])
        return super()._decode_bytes(value, kind, dimensions)

    def prepared(self, operand: Operand) -> Operand:
        """Bits in libSQL's format, with a tail that says how many there are."""
        if operand.kind != "bit":
            return operand
        return operand._replace(sql=f"CAST({operand.sql} || {_tail(operand)} AS BLOB)")

    def _checked_template(self, metric: str, stored: bool) -> str:
        if not stored and self.distances.get(metric) is PRODUCT:
            return IP
        return super()._checked_template(metric, stored)

    def distance_parts(self, a: Operand, b: Operand) -> dict[str, SQL]:
        if a.kind != "bit":
            return {
                "norm32_a": self._norm32(a),
                "norm32_b": self._norm32(b),
            }
        length = ((a.dimensions or 0) + 7) // 8
        return {"zero": SQL(f"CAST(zeroblob({length}) || {_tail(a)} AS BLOB)")}

    def _norm32(self, operand: Operand) -> SQL:
        if operand.packed is not None:
            return self._norm(operand)
        return fill(FLOAT32_NORM[operand.kind], a=operand)

    # Connections

    def check_settings(self, *, is_indexed: bool) -> list[CheckMessage]:
        if not (self.connection.settings_dict.get("OPTIONS") or {}).get("sync_url"):
            return []
        return [
            Warning(
                "The client of a copy holds Python's GIL until the server at sync_url answers, and "
                "waits for ever: a server that hangs stops the whole process (database "
                f"{self.connection.alias!r}).",
                hint="Use the URL of the server as NAME where that must not be.",
                id="dorm_vector.W009",
            )
        ]

    # Building

    def _why_no_vectors(self, index: Any, model: type[Model]) -> str | None:
        if reason := super()._why_no_vectors(index, model):
            return reason
        if not NAME.fullmatch(index.name):
            return f"libSQL takes index names of letters, digits and _ only, not {index.name!r}"
        if model._meta.pk.column is None:
            return "libSQL indexes tables with a primary key of one column"
        return None

    def _parts(
        self, index: Any, model: type[Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> dict[str, Any]:
        given = {**PARAMETERS, **index.parameters("graph")}
        metric = {"l2": "l2", "cosine": "cosine"}[index.metric]
        parameters = ", ".join(
            literal(f"{word(name)}={value}") for name, value in {"metric": metric, **given}.items()
        )
        parts = super()._parts(index, model, schema_editor)
        field = index.vector_field(model)
        column_type = self.column_type(field.kind, field.dimensions)
        return {**parts, "parameters": parameters, "type": column_type}
