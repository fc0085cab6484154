"""
Where a distance stands in a query, which decides what an undefined one is there.

Read, compared and sorted by, it is greater than all others, as NaN is on PostgreSQL. For whatever
is computed of it, it is NULL: databases without NaN have a number in its place, of which another
one would be made.

Django tells an expression nothing of where it stands, so ``_owners`` looks at the calls that lead
to its SQL, and at nothing but the objects whose methods these are. Each hook that there is falls
short:

- ``as_sql()`` is handed a compiler, which keeps no path to what it compiles.
- Nothing can be marked before: ``F("distance")`` becomes the very object that is the annotation
  ``distance``, without a call of any of its methods, and so one object has both places.
- It cannot be replaced by a copy where something is computed of it when the first distance of a
  query is compiled: what computes has taken its parts by then, and that may be the very call.
- ``select_format()``, ``get_lookup()`` and ``asc()`` are called for columns, conditions and orders
  of a distance itself, and not of a ``Case``, a ``Min`` or a ``Subquery`` that hands it on; nor is
  a distance on the right of a condition told anything.
- A query comes to ``resolve_expression()``, which may not give it another class, and a compiler in
  ``connection.ops`` would be that of all queries of the project.

Where the calls tell nothing, as those of compiled extension modules, a distance is what it is when
read: it sorts last, and passes no threshold.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from django.db.models import Field, OrderBy
from django.db.models.expressions import BaseExpression, ExpressionList, OrderByList
from django.db.models.lookups import Lookup
from django.db.models.sql import Query
from django.db.models.sql.compiler import (
    SQLAggregateCompiler,
    SQLCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)
from django.db.models.sql.where import WhereNode

__all__ = ["aggregate_over", "is_operand"]

# What compares values, or sorts and groups by them.
COMPARES = (Lookup, WhereNode, OrderBy, OrderByList, ExpressionList)
# Django's expressions whose value is that of one of their parts.
HANDS_ON = frozenset(
    {
        "Case",
        "FirstValue",
        "Greatest",
        "Lag",
        "LastValue",
        "Lead",
        "Least",
        "Max",
        "Min",
        "NthValue",
        "Subquery",
        "When",
        "Window",
    }
)


def is_operand(distance: Any) -> bool:
    """Whether something is computed, or stored, of the distance that is being compiled."""
    for owner in _owners(sys._getframe(1)):
        if owner is distance or isinstance(owner, Query):
            continue
        if isinstance(owner, SQLInsertCompiler | SQLUpdateCompiler | SQLAggregateCompiler | Field):
            return True  # a field is that of a generated column
        if isinstance(owner, COMPARES):
            return False
        if isinstance(owner, SQLCompiler):
            if not _is_part(owner.query, distance):
                return False
        elif isinstance(owner, BaseExpression) and not _hands_on(owner):
            return True
    return False


def aggregate_over(distance: Any, names: frozenset[str]) -> str | None:
    """The first of these aggregates that the distance being compiled is in, unless it filters."""
    for owner in _owners(sys._getframe(1)):
        if isinstance(owner, (SQLCompiler, *COMPARES)):
            return None
        name = type(owner).__name__
        if name in names and getattr(owner, "filter", None) is None:
            return name
    return None


def _owners(frame: FrameType | None) -> Iterator[Any]:
    """The objects whose methods are being called, from the innermost on."""
    last = None
    while frame is not None:
        # Compilers compile each part of an expression by the method of this name.
        if frame.f_code.co_name != "compile":
            owner = _first_argument(frame)
            if owner is not None and owner is not last:
                last = owner
                yield owner
        frame = frame.f_back


def _first_argument(frame: FrameType) -> Any:
    """That of a call; decorators have ``*args`` alone."""
    code = frame.f_code
    if code.co_argcount:
        return frame.f_locals.get(code.co_varnames[0])
    if code.co_flags & inspect.CO_VARARGS:
        return next(iter(frame.f_locals.get(code.co_varnames[code.co_kwonlyargcount], ())), None)
    return None


def _is_part(query: Query, distance: Any) -> bool:
    """Whether another query takes its values from a query, whose rows do not depend on them."""
    if not query.subquery or query.distinct:
        return False
    names = (getattr(getattr(each, "expression", each), "name", each) for each in query.order_by)
    sorted_by = (query.annotations.get(str(name).removeprefix("-")) for name in names)
    return not any(each is distance for each in sorted_by)


def _hands_on(owner: Any) -> bool:
    if type(owner).__module__.startswith("dorm_vector."):
        return True
    if type(owner).__name__ not in HANDS_ON:
        return False
    return getattr(owner._output_field_or_none, "may_be_undefined", False)
