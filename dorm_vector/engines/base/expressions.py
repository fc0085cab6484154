"""Distances, functions and aggregates of vectors as SQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from django.db import NotSupportedError

from dorm_vector import codecs
from dorm_vector.kinds import KINDS
from dorm_vector.registry import METRICS
from dorm_vector.sql import SQL, Operand, fill, literal

__all__ = ["COSINE_IN_RANGE", "EngineExpressions"]

T = TypeVar("T")
#: SQL by the name of an engine and by field kind.
Templates = Mapping[str, Mapping[str, str]]
NONE: Templates = {}

# An undefined distance is NULL, NaN, infinity, or the greatest number of a database.
DEFINED = "{distance} < 1.7976931348623157e308"

# A cosine ``{distance}`` from -0.001 to 2.001, within 3e-16; NULL where it is not, or is 1.0, since
# division by zero is NULL to SQLite. One minus the distance, times the factor, is infinite past the
# range, and zero for 1.0; the reciprocal of its reciprocal is what it was, or NULL. A query that
# names the distance, and compares it, takes twice as long: of a scan of 20,000 vectors of 384
# dimensions 6.5 % instead of 3 %.
FACTOR = 2.0**1023 / 1.001 * 2
COSINE_IN_RANGE = f"1.0 - 1.0 / ({FACTOR!r} / ((1.0 - {{distance}}) * {FACTOR!r}))"


class EngineExpressions:
    """
    The part of an engine that computes.

    Templates hold ``{a}`` and ``{b}`` for the operands of a distance; see ``distance``.
    """

    label: str
    placeholder: Callable[[str, int], str]
    cached_parameter: Callable[[Any, str], Any]

    #: SQL by metric. Metrics that are missing here may have their own: ``Distance.sql``.
    distances: ClassVar[dict[str, str]] = {}
    #: By metric, the condition that the distance, ``{distance}``, is right. Float32 over- and
    #: underflows, and NaN may have been stored past the field.
    trusted: ClassVar[dict[str, str]] = {}
    #: By metric, the same as one expression: ``{distance}`` where it is that, or else another one.
    checked: ClassVar[dict[str, str]] = {}
    #: By metric, slower SQL that is always right: for distances that are not trusted, and for
    #: columns, constraints and indexes, which take no subqueries.
    exact_distances: ClassVar[dict[str, str]] = {}
    #: ``{distance}`` as a similarity, minus infinity if it is undefined.
    similarity_template: ClassVar[str] = "(1 - {distance})"
    #: What undefined distances and similarities are, as SQL literals.
    undefined: ClassVar[tuple[str, ...]] = ()
    #: Aggregates of Django's that fail on NULL.
    fails_on_null: ClassVar[frozenset[str]] = frozenset()
    #: SQL by the name of a function of vectors and by field kind: "norm", "normalize", "add", ...
    #: with the operands ``{a}`` and ``{b}``.
    functions: ClassVar[dict[str, dict[str, str]]] = {}
    #: A vector ``{a}`` of one kind as another, by both: ``("vector", "halfvec")``. Values out of
    #: the range of the other are errors, and NULL is NULL.
    conversions: ClassVar[dict[tuple[str, str], str]] = {}
    #: Whether operands that are queries are named once, for a parser with little stack.
    binds_operands: ClassVar[bool] = False
    #: Whether distances are guarded against NULL operands, because they raise on them.
    guards_null: ClassVar[bool] = False
    #: The condition that ``{distance}`` is a number, for metrics that always are unless an operand
    #: is NULL, and for the cosine distance.
    defined_templates: ClassVar[tuple[str, str]] = ("{distance} IS NOT NULL", DEFINED)
    #: By field kind, the condition that the vector ``{a}`` is neither NULL nor ``{zero}``, for the
    #: cosine ``{distance}`` to a vector that is not zero. Cheaper than computing it twice.
    nonzero_templates: ClassVar[dict[str, str]] = {}
    #: Sentences on what to use instead of a metric that is missing.
    alternatives: ClassVar[dict[str, str]] = {}

    def distance(self, metric: str, a: Operand, b: Operand, *, stored: bool = False) -> SQL:
        """
        The SQL of a distance.

        ``{a}`` and ``{b}`` are the operands, ``{norm_a}`` and ``{norm_b}`` their L2 norms. NULL
        where an operand is NULL. ``stored`` is for the definition of a column, a constraint or an
        index.
        """
        # An aggregate may not move into a subquery.
        grouped = a.is_aggregate or b.is_aggregate
        if self.binds_operands and not (stored or grouped):
            (a, b), bind = self._bound([a, b])
            return bind(self._distance(metric, a, b))
        return self._distance(metric, a, b, stored=stored or grouped)

    def _distance(self, metric: str, a: Operand, b: Operand, *, stored: bool = False) -> SQL:
        template = self._checked_template(metric, stored)
        a, b = self.prepared(a), self.prepared(b)
        guards = [name for name, operand in (("a", a), ("b", b)) if operand.packed is None]
        if self.guards_null and guards:
            condition = " AND ".join(f"{{{name}}} IS NOT NULL" for name in guards)
            template = f"CASE WHEN {condition} THEN {template} END"
        norms = {}
        if "{norm_" in template:
            norms = {"norm_a": self._norm(a), "norm_b": self._norm(b)}
        return fill(template, a=a, b=b, **norms, **self.distance_parts(a, b))

    def function(
        self,
        name: str,
        operands: Sequence[Operand],
        numbers: dict[str, int] | None = None,
        *,
        stored: bool = False,
        sql: Templates = NONE,
    ) -> SQL:
        """
        The SQL of a function of one vector or two; ``numbers`` are arguments of its own.

        NULL where an operand is NULL. ``stored`` is for the definition of a column, a constraint or
        an index. ``sql`` has templates by engine and by field kind, for what ``functions`` lacks.
        Raises NotSupportedError.
        """
        if stored and (reason := self.why_not_stored(name, sql)):
            raise NotSupportedError(f"{reason}.")
        template = self._function_template(name, operands[0].kind, sql)
        if self.binds_operands and not (stored or any(each.is_aggregate for each in operands)):
            operands, bind = self._bound(operands)
            return bind(self._function(template, operands, numbers))
        return self._function(template, operands, numbers)

    def _bound(self, operands: Sequence[Operand]) -> tuple[list[Operand], Callable[[SQL], SQL]]:
        """
        The operands, with queries among them as columns of one, and the function that adds it.

        Templates repeat their operands: nested, they would double with each level, and the parser
        allows only so many levels.
        """
        named = {f"dorm_{place}": each for place, each in enumerate(operands)}
        deep = {name: each for name, each in named.items() if "(SELECT" in each.sql}
        if not deep:
            return list(operands), lambda made: made
        columns = ", ".join(f"{{{name}}} AS {name}" for name in deep)

        def bind(made: SQL) -> SQL:
            return fill(f"(SELECT {{made}} FROM (SELECT {columns}))", made=made, **deep)  # noqa: S608 - names

        shallow = [
            each._replace(sql=name, params=()) if name in deep else each
            for name, each in named.items()
        ]
        return shallow, bind

    def _templates(self, name: str, sql: Templates) -> Mapping[str, str]:
        """The SQL of a function by field kind."""
        return {**(self.own(sql) or {}), **self.functions.get(name, {})}

    def _function_template(
        self, name: str, kind: str, sql: Templates = NONE, what: str = "function"
    ) -> str:
        template = self._templates(name, sql).get(kind)
        if template is None:
            raise NotSupportedError(f"{self.label} has no {what} {name} of {kind}.")
        return template

    def _function(
        self, template: str, operands: Sequence[Operand], numbers: dict[str, int] | None
    ) -> SQL:
        named = dict(zip("ab", operands, strict=False))
        if self.guards_null:
            condition = " AND ".join(f"{{{each}}} IS NOT NULL" for each in named)
            template = f"CASE WHEN {condition} THEN {template} END"
        parts = {each: SQL(literal(number)) for each, number in (numbers or {}).items()}
        return fill(template, **named, **parts)

    def converted(self, operand: Operand, kind: str) -> SQL:
        """A vector as another kind. Raises NotSupportedError if there is no conversion."""
        if operand.kind == kind:
            return SQL(operand.sql, operand.params)
        template = self.conversions.get((operand.kind, kind))
        if template is None:
            raise NotSupportedError(f"{self.label} cannot convert {operand.kind} to {kind}.")
        return fill(template, a=operand)

    def why_not_stored(self, name: str, sql: Templates = NONE) -> str | None:
        """Why a function cannot stand in a definition, a sentence without a full stop; or None."""
        templates = self._templates(name, sql).values()
        if not any("(SELECT" in template for template in templates):
            return None
        return (
            f"{self.label} allows no subqueries in generated columns, constraints and indexes, "
            f"and {name} of vectors needs one: compute it in queries"
        )

    def aggregate(self, name: str, a: Operand, suffix: SQL, sql: Templates = NONE) -> SQL:
        """The SQL of an aggregate; ``suffix`` is its FILTER clause. Raises NotSupportedError."""
        template = self._function_template(name, a.kind, sql, "aggregate")
        return fill(template, a=a, filter=suffix, dimensions=SQL(str(a.dimensions)))

    def distance_parts(self, a: Operand, b: Operand) -> dict[str, SQL]:
        """What fills the template of a distance besides its operands."""
        return {}

    def prepared(self, operand: Operand) -> Operand:
        """An operand of a distance in the form that the database's functions take."""
        return operand

    def reduced(
        self, reduction: str | int, metric: str, a: Operand, b: Operand
    ) -> tuple[str, Operand, Operand]:
        """The metric and the operands of a coarse index, where the database has such indexes."""
        return metric, a, b

    def defined(self, metric: str, a: Operand, b: Operand) -> SQL:
        """The condition that a distance is a number: no operand is NULL, nor zero by cosine."""
        known = METRICS[metric]
        if b.packed is not None and not known.may_be_undefined:
            self._distance_template(metric)  # raises where there is none
            return fill("{a} IS NOT NULL", a=a)
        template = self.defined_templates[known.may_be_undefined]
        if b.packed is not None and known.undefined_at_zero:
            template = self.nonzero_templates.get(b.kind, template)
        parts: dict[str, SQL | Operand] = {"a": a}
        if "{distance}" in template:
            parts["distance"] = self.distance(metric, a, b)
        if "{zero}" in template:
            kind = KINDS[b.kind]
            dimensions = kind.size(b.packed)
            zero = self.cached_parameter(kind.zero(dimensions), b.kind)
            parts["zero"] = SQL(self.placeholder(b.kind, dimensions), (zero,))
        return fill(template, **parts)

    def similarity(self, distance: SQL, a: Operand, b: Operand) -> SQL:
        """A distance as a similarity."""
        return fill(self.similarity_template, distance=distance, a=a, b=b)

    def null_if_undefined(self, value: SQL) -> SQL:
        """A distance or a similarity, NULL if it is undefined."""
        for undefined in self.undefined:
            value = fill(f"NULLIF({{value}}, {undefined})", value=value)
        return value

    def _checked_template(self, metric: str, stored: bool) -> str:
        """The template of a distance, with the exact one as a fallback if it is not trusted."""
        template = self._distance_template(metric)
        if stored:
            return self.exact_distances.get(metric, template)
        if metric in self.checked:
            return self.checked[metric].replace("{distance}", template)
        if metric not in self.trusted:
            return template
        condition = self.trusted[metric].replace("{distance}", "dorm_d")
        return (
            f"(SELECT CASE WHEN {condition} THEN dorm_d ELSE {self.exact_distances[metric]} END "  # noqa: S608 - templates
            f"FROM (SELECT {template} AS dorm_d))"
        )

    def _distance_template(self, metric: str) -> str:
        found = self.distances.get(metric) or self.own(METRICS[metric].sql)
        if found is None:
            instead = self.alternatives.get(metric, "")
            raise NotSupportedError(f"{self.label} has no {metric} distance. {instead}".rstrip())
        return found

    @classmethod
    def own(cls, by_engine: Mapping[str, T]) -> T | None:
        """The entry for this engine, or for one that it derives from, of those by engine name."""
        names = (vars(base).get("name") for base in cls.__mro__)
        return next((by_engine[name] for name in names if name and name in by_engine), None)

    def _norm(self, operand: Operand) -> SQL:
        if operand.packed is None:
            return fill(self._function_template("norm", operand.kind), a=operand)
        return SQL("%s", (math.hypot(*codecs.from_packed(operand.packed)),))
