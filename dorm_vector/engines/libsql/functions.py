"""Functions and aggregates composed of libSQL's SQL."""

from __future__ import annotations

__all__ = ["CONVERSIONS", "FLOAT32_NORM", "FUNCTIONS", "GREATEST", "LEAST"]

# A float32 from its bits: no function of libSQL's shows more than six digits of one. NaN, which raw
# SQL may have stored, is infinity as well, of which no vector is made.
NUMBER = (
    "(1 - 2 * ({bits} >> 31)) * CASE {bits} >> 23 & 255 "
    "WHEN 0 THEN ({bits} & 8388607) * 1.401298464324817e-45 WHEN 255 THEN 9e999 "
    "ELSE (1 + ({bits} & 8388607) / 8388608.0) * power(2.0, ({bits} >> 23 & 255) - 127) END"
)


def _bits(digits: str) -> str:
    """The bits of a float32, of which eight hexadecimal ``digits`` have the first byte last."""
    pairs = " || ".join(f"substr({digits}, {offset}, 2)" for offset in (7, 5, 3, 1))
    return f"(('0x' || {pairs}) ->> '$')"


def _elements(
    expression: str, result: str = "vector32('[' || group_concat(ifnull({}, 9e999)) || ']')"
) -> str:
    """A vector made of an expression of the components x of {a}, and y of {b}."""
    x, y = (
        NUMBER.format(bits=_bits(digits)) if name in expression else "NULL"
        for name, digits in (("x", "g"), ("y", "h"))
    )
    second = "{b}" if "y" in expression else "NULL"
    return (
        f"(SELECT {result.format(expression)} FROM (SELECT {x} AS x, {y} AS y FROM "  # noqa: S608 - columns
        "(SELECT hex(substr(p, 4 * value + 1, 4)) AS g, hex(substr(q, 4 * value + 1, 4)) AS h FROM "
        f"(SELECT {{a}} AS p, {second} AS q), generate_series(0, length(p) / 4 - 1))))"
    )


def _of_group(aggregate: str) -> str:
    """A vector of an aggregate of each component of the vectors of a group."""
    bits = _bits("g")
    return (
        "(SELECT CASE WHEN length(h) > 0 THEN "  # noqa: S608 - columns
        "(SELECT vector32('[' || group_concat(ifnull(s, 9e999)) || ']') FROM "
        f"(SELECT {aggregate}({NUMBER.format(bits=bits)}) AS s FROM (SELECT place, "
        "CAST(substr(h, 8 * ({dimensions} * r.value + place) + 1, 8) AS TEXT) AS g "
        "FROM (SELECT value AS place FROM generate_series(0, {dimensions} - 1)), "
        "generate_series(0, length(h) / (8 * {dimensions}) - 1) AS r) "
        "GROUP BY place ORDER BY place)) END "
        # As bytes, since the characters of a text are counted from its beginning.
        # hex() of NULL is empty.
        "FROM (SELECT CAST(group_concat(hex({a}), '')"
        "{filter} AS BLOB) AS h))"
    )


# An error, since it is not a vector.
REFUSED = "vector32('[beyond the range of its kind]')"


def _finite(template: str) -> str:
    """The same, with an error if a component is infinite: its distance to itself is not zero."""
    return (
        "(SELECT CASE WHEN v IS NULL OR vector_distance_l2(v, v) = 0 THEN v "  # noqa: S608 - templates
        f"ELSE {REFUSED} END FROM (SELECT {template} AS v))"
    )


def _half(template: str) -> str:
    """The same for vectors of float16, computed in float32."""
    widened = template.replace("{a}", "vector32({a})").replace("{b}", "vector32({b})")
    widened = widened.replace(
        "hex(vector32({a}))", "CASE WHEN {a} IS NOT NULL THEN hex(vector32({a})) ELSE '' END"
    )
    return f"(SELECT CASE WHEN v IS NOT NULL THEN vector16(v) END FROM (SELECT {widened} AS v))"  # noqa: S608


def _made(function: str) -> str:
    """A function of {a} that is NULL if {a} is."""
    return f"(SELECT CASE WHEN w IS NOT NULL THEN {function}(w) END FROM (SELECT {{a}} AS w))"  # noqa: S608


# The zero vector of as many components as {a}.
ZERO = {
    "vector": "zeroblob(length({a}))",
    "halfvec": "CAST(zeroblob(length({a}) - 1) || X'05' AS BLOB)",
}
# libSQL sums squares in float32, except for float64 vectors. Within these bounds they neither
# underflow nor overflow.
LEAST, GREATEST = "1e-17", "1e18"
FLOAT32_NORM = {kind: f"vector_distance_l2({{a}}, {zero})" for kind, zero in ZERO.items()}
# NULL where the length itself is beyond float32, which the functions return.
NORM = {
    kind: f"NULLIF(vector_distance_l2(vector64({{a}}), vector64({zero})), 9e999)"
    for kind, zero in ZERO.items()
}
NORMALIZE = (
    f"CASE WHEN {NORM['vector']} = 0 THEN {{a}} "
    f"WHEN {NORM['vector']} > 0 THEN {_elements('x / {norm}')} ELSE {REFUSED} END"
)
FUNCTIONS = {
    "norm": NORM,
    "dims": {"vector": "length({a}) / 4", "halfvec": "length({a}) / 2"},
    "subvector": {
        "vector": "substr({a}, 4 * {start} - 3, 4 * {length})",
        "halfvec": "CAST(substr({a}, 2 * {start} - 1, 2 * {length}) || X'05' AS BLOB)",
    },
    "quantize": {
        "vector": "substr(vector1bit({a}), 1, (length({a}) / 4 + 7) / 8)",
        "halfvec": "substr(vector1bit({a}), 1, (length({a}) / 2 + 7) / 8)",
    },
    "concat": {
        "vector": "CAST({a} || {b} AS BLOB)",
        "halfvec": "CAST(substr({a}, 1, length({a}) - 1) || {b} AS BLOB)",
    },
    **{
        name: {
            "vector": _finite(_elements(expression)),
            "halfvec": _finite(_half(_elements(expression))),
        }
        for name, expression in (("add", "x + y"), ("subtract", "x - y"), ("multiply", "x * y"))
    },
    "normalize": {"vector": NORMALIZE.replace("{norm}", NORM["vector"]), "halfvec": ""},
    "json": {"vector": _elements("x", "'[' || group_concat({}) || ']'")},
    "sum": {
        "vector": _finite(_of_group("sum")),
        "halfvec": _finite(_half(_of_group("sum"))),
    },
    "avg": {
        "vector": _finite(_of_group("avg")),
        "halfvec": _finite(_half(_of_group("avg"))),
    },
}
FUNCTIONS["normalize"]["halfvec"] = _half(FUNCTIONS["normalize"]["vector"])
FUNCTIONS["json"]["halfvec"] = FUNCTIONS["json"]["vector"].replace("{a}", "vector32({a})")
# By the kinds from and to which CAST converts.
CONVERSIONS = {
    ("vector", "halfvec"): _finite(_made("vector16")),
    ("halfvec", "vector"): _made("vector32"),
}
