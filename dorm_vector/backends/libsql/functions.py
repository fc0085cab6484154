"""
The functions that Django's SQLite backend computes in Python, in SQL.

Templates have ``{0}``, ``{1}``, ... for the arguments; those of aggregates have ``{filter}`` too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.core.exceptions import FieldError
from django.db import NotSupportedError
from django.db.models import Aggregate, DecimalField, Func, Window
from django.db.models.functions import Cast, Random
from django.db.models.lookups import IRegex
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector.backends.libsql.datetimes import made_of
from dorm_vector.sql import SQL, fill, filter_clause

__all__ = ["rewriter"]

# The text {1} times: a blob of as many zeros, in hexadecimal, each replaced by the text.
REPEATED = "replace(hex(zeroblob({1})), '00', TEXT)"
PADDING = f"substr({REPEATED}, 1, {{1}} - length({{0}}))".replace("TEXT", "{2}")
PADDED = (
    "CASE WHEN {1} IS NULL OR {2} IS NULL THEN NULL "
    "WHEN length({0}) >= {1} THEN substr({0}, 1, {1}) ELSE RESULT END"
)
HEX_DIGITS = "substr(hex(randomblob(2)), 2)"
# The variant of RFC 9562, and three digits more.
VARIANT = f"substr('89AB', 1 + (random() & 3), 1) || {HEX_DIGITS}"

# SQLite's own math functions give NULL and infinity where libSQL's raise an error.
EXP = "CASE WHEN {0} > 709.782712893384 THEN 9e999 WHEN {0} < -708 THEN 0.0 ELSE exp({0}) END"
# libSQL's ceil() and floor() give the least integer past 64 bits, where floats are integers anyway.
WHOLE = "CASE WHEN abs({0}) >= 9007199254740992 THEN {0} ELSE FUNCTION({0}) END"
POWER = (
    "CASE WHEN {0} IS NULL OR {1} IS NULL THEN NULL WHEN {1} = 0 OR {0} = 1 THEN 1.0 "
    "WHEN {0} = 0 AND {1} < 0 THEN 9e999 WHEN {0} = 0 THEN 0.0 "
    "WHEN {0} < 0 AND {1} <> round({1}) THEN NULL "
    "WHEN {1} * ln(abs({0})) > 709.78 "
    "THEN CASE WHEN {0} < 0 AND abs({1}) %% 2 = 1 THEN -9e999 ELSE 9e999 END "
    "WHEN {1} * ln(abs({0})) < -708 THEN 0.0 ELSE power({0}, {1}) END"
)

# By the SQL name of a function.
SCALARS = {
    "ACOS": "CASE WHEN {0} BETWEEN -1 AND 1 THEN acos({0}) END",
    "ASIN": "CASE WHEN {0} BETWEEN -1 AND 1 THEN asin({0}) END",
    "CEILING": WHOLE.replace("FUNCTION", "ceil"),
    "EXP": EXP,
    "FLOOR": WHOLE.replace("FUNCTION", "floor"),
    "LN": "ln(nullif(max({0}, 0), 0))",
    "POWER": POWER,
    "COT": "(1.0 / tan({0}))",
    "LOG": "(ln(nullif(max({1}, 0), 0)) / ln(nullif(max({0}, 1), 1)))",
    "LPAD": PADDED.replace("RESULT", f"{PADDING} || {{0}}"),
    # NULL where floats have no digits left for a remainder.
    "MOD": (
        "CASE WHEN typeof({0}) = 'integer' AND typeof({1}) = 'integer' "
        "THEN CAST({0} %% {1} AS REAL) WHEN abs({0} * 1.0 / {1}) < 9007199254740992 "
        "THEN {0} - {1} * CAST({0} * 1.0 / {1} AS INTEGER) END"
    ),
    "REPEAT": f"CASE WHEN {{1}} IS NOT NULL THEN {REPEATED} END".replace("TEXT", "{0}"),
    "REVERSE": (
        "(WITH RECURSIVE letters(place, done) AS (SELECT length({0}), '' UNION ALL "
        "SELECT place - 1, done || substr({0}, place, 1) FROM letters WHERE place > 0) "
        "SELECT done FROM letters WHERE place = 0)"
    ),
    "RPAD": PADDED.replace("RESULT", f"{{0}} || {PADDING}"),
    "UUIDV4": (
        f"lower(hex(randomblob(6)) || '4' || {HEX_DIGITS} || {VARIANT} || hex(randomblob(6)))"
    ),
    "UUIDV7": (
        "lower(printf('%%012x', CAST(unixepoch('subsec') * 1000 AS INTEGER)) || '7' || "
        f"{HEX_DIGITS} || {VARIANT} || hex(randomblob(6)))"
    ),
}

# libSQL rounds the last half of a millisecond of a day up to the next day.
MOMENT = (
    "CASE WHEN {0} GLOB '????-??-?? ??:??:59.*' AND substr({0}, 18, 7) >= '59.9995' "
    "THEN substr({0}, 1, 17) || '59.999' "
    "WHEN {0} GLOB '??:??:59.*' AND substr({0}, 7, 7) >= '59.9995' "
    "THEN substr({0}, 1, 6) || '59.999' ELSE {0} END"
)
# Casts, by the type of the column.
CASTS = {
    "date": f"date({MOMENT})",
    "datetime": f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', {MOMENT})",
    "time": f"strftime('%%H:%%M:%%f', {MOMENT})",
}

# libSQL's own variance() divides by one less than the number of values, and is 0 for one of them.
VARIANCE = "variance({0}){filter}"
COUNT = "count({0}){filter}"
VAR_SAMP = f"CASE WHEN {COUNT} > 1 THEN {VARIANCE} END"
VAR_POP = f"CASE WHEN {COUNT} > 0 THEN {VARIANCE} * ({COUNT} - 1) / {COUNT} END"


def _bit_by_bit(template: str) -> str:
    return "(" + " | ".join(template.replace("BIT", str(bit)) for bit in range(64)) + ")"


AGGREGATES = {
    "ANY_VALUE": "min({0}){filter}",
    "BIT_AND": _bit_by_bit("(min({0} >> BIT & 1){filter} << BIT)"),
    "BIT_OR": _bit_by_bit("(max({0} >> BIT & 1){filter} << BIT)"),
    "BIT_XOR": _bit_by_bit("((sum({0} >> BIT & 1){filter} & 1) << BIT)"),
    "STDDEV_POP": f"sqrt({VAR_POP})",
    "STDDEV_SAMP": f"sqrt({VAR_SAMP})",
    "VAR_POP": VAR_POP,
    "VAR_SAMP": VAR_SAMP,
}

# A number from 0 to 1, less than 1, of as many bits as a float has.
RANDOM = "((random() & 9007199254740991) / 9007199254740992.0)"

IMPOSSIBLE = frozenset({"MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512"})

Compiled = tuple[str, tuple[Any, ...]]
Compile = Callable[[Any], Compiled]
Rewriter = Callable[[Any, Any, Compile], Compiled]


@functools.cache
def rewriter(node_class: type) -> Rewriter | None:
    """What compiles such nodes instead of Django's own way, or None."""
    return next(
        (rewrite for base, rewrite in CLASSES.items() if issubclass(node_class, base)), None
    )


def _iregex(node: Any, compiler: SQLCompiler, compile_: Compile) -> Compiled:
    value, value_params = node.process_lhs(compiler, compiler.connection)
    pattern, pattern_params = node.process_rhs(compiler, compiler.connection)
    return f"regexpi({pattern}, {value})", (*pattern_params, *value_params)


def _random(node: Any, compiler: SQLCompiler, compile_: Compile) -> Compiled:
    return RANDOM, ()


def _window(node: Any, compiler: SQLCompiler, compile_: Compile) -> Compiled:
    name = _name(node.source_expression)
    if name in AGGREGATES:
        raise NotSupportedError(f"libSQL has no {name} over a window.")
    return compile_(node)


def _function(node: Any, compiler: SQLCompiler, compile_: Compile) -> Compiled:
    compiled = compile_(node)  # which refuses what Django refuses
    name = _name(node)
    if name in IMPOSSIBLE:
        raise NotSupportedError(f"libSQL has no function {name}.")
    template = SCALARS.get(name) or AGGREGATES.get(name)
    if template is None:
        return compiled
    others = {}
    if isinstance(node, Aggregate):
        others["filter"] = filter_clause(node, compiler)
    sql, params = _filled(template, node, compiler, **others)
    try:
        numeric = isinstance(node._output_field_or_none, DecimalField)
    except FieldError:  # its parts are of several types, and it needs no type here
        numeric = False
    return f"(CAST({sql} AS NUMERIC))" if numeric else sql, params


def _filled(template: str, node: Any, compiler: SQLCompiler, **others: SQL) -> SQL:
    """A template of the operands of ``node``, which are named where it would repeat long ones."""
    operands = [SQL(*compiler.compile(argument)) for argument in node.source_expressions]

    def make(*parts: SQL) -> SQL:
        return fill(template, **{str(place): part for place, part in enumerate(parts)}, **others)

    # Aggregates and window functions cannot move into a query of their own.
    if node.contains_aggregate or node.contains_over_clause:
        return make(*operands)
    return made_of(operands, make)


def _name(node: Any) -> str:
    extra = getattr(node, "extra", {})
    return str(extra.get("function", getattr(node, "function", ""))).upper()


def _cast(node: Any, compiler: SQLCompiler, compile_: Compile) -> Compiled:
    template = CASTS.get(node.output_field.db_type(compiler.connection))
    if template is None:
        return _function(node, compiler, compile_)
    return _filled(template, node, compiler)


CLASSES: dict[type, Rewriter] = {
    Cast: _cast,
    IRegex: _iregex,
    Random: _random,
    Window: _window,
    Func: _function,
}
