"""
Random searches as Python source: what stands before, the search, what comes after, and where.

The source is evaluated twice, with ``nearest`` and with the oracle's ``reference`` under that name;
see ``namespace`` in ``search_cases.py`` for the other names.
"""

from __future__ import annotations

import dataclasses
import random
import re
from typing import Any

from tests.fuzz.search_data import QUERIES, Data
from tests.fuzz.search_models import DIMENSIONS
from tests.fuzz.search_templates import (
    BEFORE,
    BEFORE_RELATED,
    EXACT,
    EXACT_RELATED,
    GROUPED,
    NESTED,
    NESTED_RELATED,
    OUTER,
    OUTER_RELATED,
    ROWS,
    ROWS_RELATED,
    SETS,
    WHOLE,
    WRITES,
)

__all__ = ["Case", "make_case"]


@dataclasses.dataclass
class Case:
    """An expression, and how its values are to be compared."""

    source: str
    #: "rows" in order; "set" in any order; "tied" in order of the distance alone; "exact" value.
    compare: str = "rows"
    #: Whether it runs in a transaction that is rolled back.
    writes: bool = False
    #: Where the search stands at the top: the same without an end, to rank what an index finds.
    whole: str | None = None
    window: tuple[int, int | None] = (0, None)
    field: str = "embedding"
    metric: str = ""
    #: Whether what comes after makes groups, which the key does not take part in.
    regroups: bool = False
    #: A name of what is crossed, by which failures are counted.
    crossing: str = "plain"


ROW = re.compile(r"\brow\((\d+)\)")
# What no bits have: the parts of a source between quotes.
NUMBERS = {"l2", "ip"}


def make_case(rng: random.Random, data: Data) -> Case:
    return Maker(rng, data).case()


def has_numbers(source: str) -> bool:
    return "L2Distance" in source or bool(NUMBERS.intersection(source.split("'")))


class Maker:
    """Draws one case."""

    def __init__(self, rng: random.Random, data: Data) -> None:
        self.rng, self.data, self.setup = rng, data, data.setup
        self.field = self._field()
        self.metric = rng.choice(data.metrics)
        # The default, where data and field fit it.
        self.names_metric = rng.random() < 0.85 or self._default() != self.metric
        self.annotation = "score" if rng.random() < 0.06 else "distance"
        count = max(data.count, 3)
        low, high = sorted((rng.randrange(count), rng.randrange(count + 3)))
        if rng.random() < 0.7:
            low, high = sorted((rng.randrange(8), 1 + rng.randrange(12)))
        self.q = rng.randrange(QUERIES)
        self.values: dict[str, Any] = {
            "n": max(high, 1),
            "m": low,
            "l": rng.randrange(3),
            "p": rng.randint(1, 7),
            "a": self.annotation,
            "f": self.field,
            "m_": self.metric,
            "related": f"{self._relation()}_rows",
            "x": ", exact=True" if rng.random() < 0.3 else "",
            "slice": rng.choice(["", "[:1]", "[1:3]"]),
        }

    def _can_be(self, source: str, regroups: bool) -> bool:
        if self.setup.values == "bit" and has_numbers(source):
            return False
        # Groups by distance are those of rounded numbers.
        if regroups and not self.data.is_clear:
            return False
        if not all(self.data.separates_row(int(place)) for place in ROW.findall(source)):
            return False
        # The text of a query is that for the default database, not for the oracle's inner one.
        is_text = "query)" in source or "is_own_query" in source
        if "pk__in=matching" in source and is_text:
            return False
        # The oracle knows without a query that nothing is fused, and has neither text nor plan.
        if "fuse(" in source and (is_text or "explain" in source) and not self.data.count:
            return False
        # Owners have vectors of another length.
        owned = "Owner.objects" in source and "OuterRef('embedding')" in source
        if owned and self.setup.dimensions != DIMENSIONS:
            return False
        # Of a composite key in a subquery, stock Django on SQLite loses the slice, and after one in
        # values() it counts the columns of ORDER BY wrong.
        wrong = ("pk__in=nearest", "values('pk'", "values_list('pk'", ", 'pk')")
        return not (self.setup.is_composite and any(part in source for part in wrong))

    def _relation(self) -> str:
        """The name of the model that declares the relations."""
        model: Any = self.setup.model
        return (
            str(model._meta.get_field("owner").model._meta.model_name)
            if (self.setup.has_relations)
            else ""
        )

    def _field(self) -> str:
        first, *others = self.setup.fields
        return first if self.rng.random() < 0.8 else self.rng.choice(others)

    def _default(self) -> str:
        indexes = self.setup.indexes(self.field)
        if indexes:
            return str(indexes[0].metric)
        return "hamming" if self.setup.values == "bit" else "cosine"

    def case(self) -> Case:
        draws = [
            (self._after, 10),
            (self._nested, 4),
            (self._pages, 2),
            (self._wrapped, 2),
            (self._write, 1),
        ]
        if self.setup.values == "vector":
            draws += [(self._outer, 2)]
            if not self.setup.is_composite and self.data.count < 100 and self.data.is_whole:
                draws += [(self._grouped, 1)]
        if self.setup.children:
            draws += [(self._parents, 12)]
        elif (
            self.setup.has_relations and self.setup.dimensions == DIMENSIONS and self.data.is_whole
        ):
            draws += [(self._across, 1)]
        made, weights = zip(*draws, strict=True)
        for _ in range(50):
            case = self.rng.choices(made, weights)[0]()
            if self._can_be(case.source, case.regroups):
                break
        return case

    # Before, and the search itself

    def rows(self, most: int = 2) -> str:
        steps = {**BEFORE, **(BEFORE_RELATED if self.setup.has_relations else {})}
        count = self.rng.choices([0, 1, 2], [4, 5, 2])[0]
        chosen = self.rng.choices(list(steps), list(steps.values()), k=min(count, most))
        return self.start() + "".join(chosen)

    def start(self) -> str:
        """All rows, or those of another search: by words, or of several fused."""
        draw = self.rng.random()
        if draw < 0.3 and self.setup.has_words:
            names = self.rng.sample(range(max(self.data.count, 12)), 8)
            found = f"matching(rows, {' '.join(f'n{name:05}' for name in names)!r})"
            is_inner = draw < 0.1 and not self.setup.is_composite
            return f"rows.filter(pk__in={found})" if is_inner else found
        if draw > 0.96:
            last = self.rng.randrange(1, 9)
            return f"fuse(rows.order_by('name')[:9], rows.order_by('-name')[1:{last}])"
        return "rows"

    def search(self, rows: str, k: bool | None = None, **options: Any) -> str:
        given = {**self.options(k), **options}
        listed = "".join(f", {name}={value}" for name, value in given.items())
        return f"nearest({rows}, '{self.field}', {self.to()}{listed})"

    def options(self, k: bool | None = None) -> dict[str, str]:
        draw, given = self.rng.random, {}
        if k or (k is None and draw() < 0.4):
            given["k"] = str(self.values["n"]) if draw() < 0.95 else f"np.int64({self.values['n']})"
        if self.names_metric:
            given["metric"] = repr(self.metric)
        if draw() < 0.2:
            given["max_distance"] = self.limit()
        if draw() < 0.15:
            given["exact"] = "True"
        if self.annotation != "distance":
            given["annotation"] = repr(self.annotation)
        if draw() < 0.05:
            given["ef_search"] = str(self.rng.choice([1, 5, 200]))
        if draw() < 0.03:
            given["oversample"] = str(self.rng.choice([1, 3, 10]))
        return given

    def limit(self) -> str:
        query = self.data.queries[self.q]
        return repr(self.data.limit(query, self.field, self.metric, self.rng))

    def to(self) -> str:
        draw = self.rng.random()
        if draw < 0.85 or not self.data.count:
            return f"q[{self.q}]"
        if draw < 0.93:
            return f"row({self.rng.randrange(5)})"
        if draw < 0.96 and self.data.is_whole:
            return f"F('{self.setup.fields[1]}')"
        return "None" if draw > 0.98 else f"q[{self.q}]"

    def fill(self, template: str, **more: Any) -> str:
        values = {**self.values, **more}
        if "{d}" in template or "{d_}" in template:
            query = self.data.queries[self.q]
            values["d"] = values["d_"] = self.data.limit(query, self.field, self.metric, self.rng)
        if "{dd}" in template:
            values["dd"] = self.data.pair_limit(self.field, self.metric, self.rng)
        return template.format(**values)

    # Types of cases

    def _after(self) -> Case:
        rows = self.rows()
        tied = ".distinct()" in rows and ".values" in rows
        draw = self.rng.random()
        if draw < 0.55:
            return self._rows_after(rows, tied)
        related = self.setup.has_relations
        search = self.search(rows)
        if draw < 0.7:
            after = self.rng.choice(SETS)
            if after.startswith((".difference", ".intersection")):
                search += ".values('pk')"
            if after.startswith(".union"):
                search += f".values('pk', '{self.annotation}')"
            return Case(
                search + self.fill(after), "set", regroups=".values" in after, crossing=after
            )
        after = self.rng.choice(EXACT + (EXACT_RELATED if related else []))
        return Case(search + self.fill(after), "exact", crossing=after)

    def _rows_after(self, rows: str, tied: bool) -> Case:
        after = self.rng.choice(ROWS + (ROWS_RELATED if self.setup.has_relations else []))
        in_transaction = "for_update" in after
        if after in ("", "[:{n}]", "[{m}:{n}]", ".values_list('pk', '{a}')[:{n}]"):
            return self._ranked(rows, after, tied)
        tied |= ".distinct()" in after and ".values" in rows
        source = self.search(rows) + self.fill(after)
        compare = "tied" if tied else "rows"
        return Case(source, compare, writes=in_transaction, crossing=after)

    def _ranked(self, rows: str, after: str, tied: bool) -> Case:
        options, to = self.options(), self.to()
        whole = {name: value for name, value in options.items() if name != "k"}
        listed = "".join(f", {name}={value}" for name, value in options.items())
        unlisted = "".join(f", {name}={value}" for name, value in whole.items())
        base = f"nearest({rows}, '{self.field}', {to}"
        low = self.values["m"] if after.startswith("[{m}") else 0
        high = self.values["n"] if "{n}" in after else None
        if "k" in options:
            k = self.values["n"]
            high = k if high is None else min(high, k)
        return Case(
            f"{base}{listed}){self.fill(after)}",
            "tied" if tied else "rows",
            whole=f"{base}{unlisted})",
            window=(low, high),
            field=self.field,
            metric=self.metric,
            crossing=f"{after} of {rows.partition('.')[2]}",
        )

    def _wrapped(self) -> Case:
        compare, template = self.rng.choice(WHOLE)
        search = self.search(self.rows(1), k=False)
        return Case(self.fill(template, s=search), compare, crossing=template)

    def _pages(self) -> Case:
        most = min(self.data.count, 400) + 5
        cuts = sorted(self.rng.sample(range(1, most), min(self.rng.randint(1, 5), most - 1)))
        rows = self.rng.choice(["rows", "rows", "rows.filter(cat__lt=2)", "rows.defer('other')"])
        source = f"one_sequence({self.search(rows, k=False)}, {cuts})"
        return Case(source, "exact", crossing="one_sequence")

    def _nested(self) -> Case:
        templates = NESTED + (NESTED_RELATED if self.setup.has_relations else [])
        compare, template = self.rng.choice(templates)
        rows = self.rows(1)
        source = self.fill(template, s=self.search(rows))
        if "nearer" in template and "distinct" in rows and ".values" in rows:
            compare = "tied"
        # So many distinct rows are chosen by their key before they merge.
        is_chosen = "k=" in source and ".values" not in rows
        regroups = "distinct()" in rows and ".values('owner')" in template and not is_chosen
        return Case(source, compare, regroups=regroups, crossing=template)

    def _outer(self) -> Case:
        if self.data.count > 100:
            return self._nested()
        templates = OUTER + (OUTER_RELATED if self.setup.has_relations else [])
        compare, template = self.rng.choice(templates)
        return Case(self.fill(template), compare, crossing=template)

    def _write(self) -> Case:
        after = self.rng.choice(WRITES)
        search = self.search(self.rows(1), k=False)
        source = f"written(lambda: {search}{self.fill(after)}, rows)"
        return Case(source, "exact", writes=True, crossing=after)

    def _grouped(self) -> Case:
        template = self.rng.choice(GROUPED)
        compare = "rows" if "cat__in" in template else "tied"
        return Case(self.fill(template), compare, crossing=template)

    def _across(self) -> Case:
        """The vector of a row's owner, or of its tags."""
        self.field, self.metric = self.rng.choice(["owner__embedding", "tags__embedding"]), "l2"
        self.names_metric = True
        rows = self.rng.choice(["rows", "rows.filter(cat__lt=2)", "rows.select_related('owner')"])
        after = self.rng.choice(
            [
                "",
                "[:{n}]",
                ".count()",
                "[{m}:{n}]",
                ".filter(cat=1)",
                ".values_list('pk', '{a}')[:{n}]",
            ]
        )
        self.annotation = self.values["a"] = "distance"
        search = f"nearest({rows}, '{self.field}', q[{self.q}], metric='l2')"
        return Case(search + self.fill(after), "rows", crossing=f"{self.field} {after}")

    def _parents(self) -> Case:
        self.field, self.names_metric = "chunks__embedding", True
        self.metric = self.rng.choice([name for name in self.data.metrics if name != "l1"])
        rows = self.rng.choice(
            [
                "rows",
                "rows",
                "rows.filter(cat__lt=2)",
                "rows.filter(owner__name='o1')",
                "rows.filter(tags__name='t1')",
                "rows.select_related('owner')",
                "rows.defer('embedding')",
                "rows.annotate(n=Count('tags'))",
                "rows.annotate(n=Count('chunks'))",
                "rows.distinct()",
            ]
        )
        draw = self.rng.random()
        after = self.rng.choice(ROWS) if draw < 0.6 else self.rng.choice(EXACT)
        compare = "rows" if draw < 0.6 else "exact"
        search = self.search(rows)
        if draw < 0.2:
            compare, after = self.rng.choice(NESTED)
            return Case(self.fill(after, s=search), compare, crossing=f"chunks {after}")
        if "for_update" in after or "Distance" in after:
            after = ""
        return Case(search + self.fill(after), compare, crossing=f"chunks {after}")
