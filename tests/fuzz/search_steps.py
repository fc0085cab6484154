"""
Random searches as Python source: what stands before, the search, what comes after, and where it stands.

The source is evaluated twice, with ``nearest`` and with the oracle's ``reference`` under that name; see
``namespace`` in ``search_cases.py`` for the other names.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from tests.fuzz.search_data import QUERIES, Data

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
    #: A name of what is crossed, by which failures are counted.
    crossing: str = "plain"


BEFORE = {
    ".filter(cat=2)": 4,
    ".filter(cat__in=[0, 1])": 4,
    ".exclude(cat=1)": 3,
    ".filter(Q(cat=1) | Q(name__gt='n00020'))": 2,
    ".filter(embedding__isnull=False)": 1,
    ".filter(other=None)": 1,
    ".order_by('name')": 1,
    ".order_by('-cat')[:0]": 0,
    ".none()": 1,
    ".filter(pk__in=[])": 1,
    ".distinct()": 2,
    ".only('name')": 1,
    ".defer('embedding')": 2,
    ".alias(x=F('cat') + 1).filter(x=2)": 1,
    ".annotate(twice=F('cat') * 2)": 2,
    ".annotate(r=Window(RowNumber(), order_by='name'))": 1,
    ".values('pk', 'cat')": 2,
    ".values_list('pk')": 1,
    ".extra(where=['1=1'])": 1,
    ".extra(select={'one': '1'})": 1,
    ".reverse()": 1,
    ".all()": 1,
    ".filter(Exists(Owner.objects.using(db).filter(pk=OuterRef('cat'))))": 1,
    "[:5]": 0.3,
}
BEFORE_RELATED = {
    ".filter(owner__name='o1')": 3,
    ".filter(owner__isnull=True)": 1,
    ".exclude(owner__name='o2')": 2,
    ".select_related('owner')": 2,
    ".prefetch_related('tags')": 1,
    ".filter(tags__name='t1')": 3,
    ".filter(tags__in=[1, 2])": 2,
    ".filter(tags__in=[1, 2]).distinct()": 2,
    ".exclude(tags__name='t3')": 2,
    ".annotate(n=Count('tags'))": 3,
    ".annotate(n=Count('tags')).filter(n__gt=0)": 2,
    ".annotate(label=F('owner__name'))": 1,
}
# What comes after, by how it is compared.
ROWS = [
    "", "", "", "[:{n}]", "[:{n}]", "[{m}:{n}]", "[{m}:]", "[:{n}][{l}:]",
    ".all()", ".filter(cat=2)", ".filter(cat__lt=2)[:{n}]", ".exclude(cat=0)",
    ".filter({a}__lt={d})", ".filter({a}__gte={d})", ".exclude({a}__gt={d})[:{n}]",
    ".filter(cat=1).filter({a}__lt={d})", ".filter(name__lt='n00020')[{m}:{n}]",
    ".values('pk', '{a}')", ".values_list('pk', '{a}')[:{n}]", ".values_list('pk', flat=True)[{m}:{n}]",
    ".values('pk')[:{n}]", ".values_list('{a}', 'cat', 'pk')", ".values_list('pk', 'cat', named=True)[:{n}]",
    ".defer('embedding')[:{n}]", ".only('cat')", ".only('name', 'other')[:{n}]",
    ".annotate(double=F('{a}') * 2)", ".annotate(more=F('cat') + 1)[:{n}]",
    ".annotate({a}=Value(1))", ".alias(z=F('cat')).filter(z=1)[:{n}]",
    ".annotate(r=Window(RowNumber(), order_by='{a}')).values_list('pk', 'r')",
    ".order_by('pk')", ".order_by('-pk')[:{n}]", ".order_by('cat', 'pk')", ".order_by('{a}', 'pk')[:{n}]",
    ".order_by('-{a}', '-pk')[:{n}]", ".order_by('{a}', '-pk')", ".reverse()", ".reverse()[:{n}]",
    ".order_by(F('{a}').desc(), 'pk')", ".iterator(chunk_size=3)", "[:{n}].iterator(chunk_size=2)",
    ".none()", ".using(db)[:{n}]", ".complex_filter({{'cat': 1}})[:{n}]",
    ".distinct()", ".distinct()[:{n}]", ".extra(where=['1 = 1'])[:{n}]",
    ".extra(select={{'one': '1'}})[:{n}]", ".order_by('pk').order_by('{a}', 'pk')[:{n}]",
    ".annotate(other_d=L2Distance('other', q[1]))[:{n}]",
    ".annotate({a}=L2Distance('other', q[1])).order_by('pk')[:{n}]",
    ".annotate(again=L2Distance('other', q[2])).order_by('again', 'pk').values_list('pk', 'again')[:{n}]",
    ".select_for_update()[:{n}]",
]
ROWS_RELATED = [
    ".filter(owner__name='o1')", ".filter(tags__name='t1')[:{n}]", ".exclude(tags__name='t2')",
    ".select_related('owner')[:{n}]", ".prefetch_related('tags')[:{n}]", ".annotate(n=Count('tags'))",
    ".annotate(n=Count('tags'))[:{n}]", ".annotate(n=Count('tags')).filter(n__gt=0)[:{n}]",
    ".values_list('pk', 'owner__name')[:{n}]", ".filter(owner=None)[:{n}]",
    ".select_related('owner').only('owner__name', 'cat')[:{n}]", ".select_related('owner').defer('embedding')[:{n}]",
    ".prefetch_related(Prefetch('tags', queryset=Tag.objects.using(db).filter(id__lt=3)))[:{n}]",
    ".filter(tags__in=[1, 2]).distinct()[:{n}]", ".select_for_update(of=('self',))[:{n}]",
]
SETS = [
    ".order_by()", ".union(rows.filter(cat=1).annotate({a}=Value(0.5)).values('pk', '{a}'))",
    ".difference(rows.filter(cat=1).values('pk'))", ".intersection(rows.filter(cat=1).values('pk'))",
    ".in_bulk()", ".values('cat').annotate(n=Count('pk'))", ".values_list('cat').distinct()",
    ".values('cat').annotate(least=Min('{a}'))", ".values('cat').annotate(least=Min('{a}')).order_by('cat')",
    ".values('cat').order_by('cat').distinct()", ".dates('day', 'month')", ".order_by().values('pk')",
    ".filter(cat=1) | rows.filter(cat=2)", ".filter(cat=1) & rows.filter(cat__lt=3)",
]
EXACT = [
    ".count()", "[:{n}].count()", "[{m}:{n}].count()", "[{m}:].count()", ".exists()", "[:{n}].exists()",
    "[{m}:].exists()", ".first()", ".last()", "[{l}]", "[:{n}][{l}]", "[:{n}].first()", "[:{n}].last()",
    ".aggregate(Count('pk'))", "[:{n}].aggregate(Count('pk'))", ".aggregate(Min('{a}'), Max('{a}'))",
    "[:{n}].aggregate(Max('{a}'), Sum('cat'))", "[{m}:{n}].aggregate(s=Sum('cat'))", ".filter(cat=1).count()",
    ".aggregate(n=Count('pk', filter=Q({a}__lt={d})))", ".earliest('name')", ".latest('name')",
    ".earliest('{a}', 'pk')", ".get(name='n00003')", ".filter(name='n00003').get()",
    ".contains(row(1))", "[:{n}].contains(row(0))", ".values('cat').count()", ".distinct().count()",
    ".values('cat').distinct().count()", ".filter({a}__lt={d}).count()", ".order_by('cat').count()",
    ".get_or_create(name='n00003', defaults={{}})[1]", ".query.is_empty()", ".ordered",
    "[:{n}].values_list('pk', flat=True).count()", ".values_list('{a}').aggregate(Max('{a}'))",
    ".explain() and 1", ".filter(cat=1)[:{n}].aggregate(Count('pk'))",
]
EXACT_RELATED = [
    ".filter(tags__name='t1').count()", ".annotate(n=Count('tags')).aggregate(Sum('n'))",
    "[:{n}].aggregate(Count('tags'))", ".aggregate(Count('owner', distinct=True))",
    ".annotate(n=Count('tags')).count()", ".annotate(n=Count('tags'))[:{n}].aggregate(Sum('n'))",
]
WRITES = [
    ".update(cat=9)", "[:{n}].update(cat=9)", ".order_by().update(cat=F('cat') + 1)", ".delete()",
    "[:{n}].delete()", ".filter(cat=1).delete()", ".order_by('pk').update(other=None)",
]
WHOLE = [  # Wrapped around a search that has its own slice.
    ("rows", "paged({s}, {p}, {n})"), ("rows", "pickled({s}[:{n}])"), ("rows", "deepcopy({s})[:{n}]"),
    ("rows", "asynchronous({s}[:{n}])"), ("rows", "unpickled_query({s}[:{n}])"),
    ("exact", "is_own_query({s})"), ("exact", "is_own_query({s}[:{n}])"), ("exact", "acount({s})"),
    ("exact", "bool({s})"), ("exact", "len({s}[:{n}])"), ("exact", "str({s}.query) != ''"),
    ("rows", "again({s}[:{n}])"), ("rows", "rows.filter(pk__in={s}.values('pk')).order_by('pk')"),
]
NESTED = [
    ("set", "rows.filter(pk__in={s}.values('pk'))"), ("set", "rows.filter(pk__in={s}[:{n}].values('pk'))"),
    ("set", "rows.filter(pk__in={s}.values('pk')[:{n}])"), ("set", "rows.exclude(pk__in={s}.values('pk')[:{n}])"),
    ("set", "rows.filter(pk__in=[x.pk for x in {s}[:{n}]])"),
    ("set", "rows.filter(pk__in={s}[{m}:{n}].values('pk'))"), ("set", "rows.filter(pk__in={s}[:{n}])"),
    ("exact", "rows.filter(pk__in={s}.values('pk')[:{n}]).aggregate(Count('pk'), Sum('cat'))"),
    ("exact", "rows.filter(Exists({s})).count()"), ("exact", "rows.filter(~Exists({s}[:{n}])).count()"),
    ("set", "rows.annotate(best=Subquery({s}.values('{a}')[:1])).values_list('pk', 'best')"),
    ("set", "rows.annotate(best=Subquery({s}.values('pk')[:1])).values_list('pk', 'best')"),
    ("set", "rows.annotate(x=Exists({s}.filter(pk=OuterRef('pk')))).values_list('pk', 'x')"),
    ("set", "rows.filter(Exists({s}.filter(cat=OuterRef('cat'))))"),
    ("rows", "nearest(rows.filter(pk__in={s}.values('pk')[:{n}]), 'other', q[2], metric='l2', k={p})"),
    ("rows", "nearest({s}, 'other', q[2], metric='l2', k={p}, annotation='second')"),
    ("rows", "nearest({s}, 'other', q[2], metric='l2', annotation='second')"),
    ("rows", "nearest({s}, 'embedding', q[3], metric='l2', k={p}, annotation='second')"),
    ("rows", "nearest({s}, 'embedding', q[3], metric='ip', annotation='second')[:{n}]"),
]
NESTED_RELATED = [
    ("set", "Owner.objects.using(db).filter(pk__in={s}.values('owner')[:{n}])"),
    ("set", "Owner.objects.using(db).filter({related}__in={s})"),
    ("set", "Owner.objects.using(db).prefetch_related(Prefetch('{related}', queryset={s}, to_attr='near'))"),
    ("rows", "Owner.objects.using(db).order_by('pk').prefetch_related(Prefetch('{related}', queryset={s}[:{p}], to_attr='near'))"),
    ("rows", "Tag.objects.using(db).order_by('pk').prefetch_related(Prefetch('{related}', queryset={s}))"),
]
OUTER = [
    ("set", "rows.filter(Exists(nearest(rows.exclude(pk=OuterRef('pk')), '{f}', OuterRef('{f}'), metric='{m_}', max_distance={dd}{x})))"),
    ("set", "rows.annotate(e=Exists(nearest(rows.exclude(pk=OuterRef('pk')), '{f}', OuterRef('other'), metric='{m_}', max_distance={dd}))).values_list('pk', 'e')"),
    ("set", "rows.annotate(c=Subquery(nearest(rows.exclude(pk=OuterRef('pk')), '{f}', OuterRef('{f}'), metric='{m_}'{x}).values('distance')[:1])).values_list('pk', 'c')"),
    ("set", "rows.annotate(c=Subquery(nearest(rows.filter(cat=OuterRef('cat')), '{f}', q[1], metric='{m_}'{x}).values('distance')[:1])).values_list('pk', 'c')"),
    ("set", "rows.annotate(c=Subquery(nearest(rows.exclude(pk=OuterRef('pk')), '{f}', OuterRef('{f}'), metric='{m_}').order_by().values('cat').annotate(n=Count('pk')).values('n')[:1])).filter(c=None)"),
    ("rows", "nearest(rows, '{f}', Subquery(rows.filter(pk=row(0).pk).values('{f}')[:1]), metric='{m_}')[:{n}]"),
    ("set", "rows.filter(Exists(nearest(rows.filter(cat=OuterRef('cat')), '{f}', q[0], metric='{m_}', max_distance={d_}{x})))"),
]
OUTER_RELATED = [
    ("rows", "Owner.objects.using(db).annotate(c=Subquery(nearest(rows.filter(owner=OuterRef('pk')), '{f}', q[1], metric='{m_}'{x}).values('pk')[:1])).order_by('pk').values_list('pk', 'c')"),
    ("rows", "Owner.objects.using(db).annotate(c=Subquery(nearest(rows.filter(owner=OuterRef('pk')), '{f}', OuterRef('embedding'), metric='{m_}'{x}).values('distance')[:1])).order_by('pk').values_list('pk', 'c')"),
    ("set", "Owner.objects.using(db).filter(Exists(nearest(rows.filter(owner=OuterRef('pk')), '{f}', q[1], metric='{m_}', max_distance={d_}{x})))"),
    ("set", "Owner.objects.using(db).annotate(n=Count('{related}', filter=Q({related}__in=nearest(rows, '{f}', q[1], metric='{m_}', max_distance={d_})))).values_list('pk', 'n')"),
]
GROUPED = [
    "nearest(rows.values('cat').annotate(c=VectorAvg('{f}')), 'c', q[1], metric='l2'{x}){slice}",
    "nearest(rows.values('cat').annotate(c=VectorAvg('{f}')).filter(cat__lt=3), 'c', q[2], metric='l2', k={p})",
    "nearest(rows.order_by().values('cat').annotate(c=VectorAvg('{f}'), n=Count('pk')), 'c', q[2], metric='l2').values_list('cat', 'n', 'distance')",
    "nearest(rows.filter(cat__in=nearest(rows.values('cat').annotate(c=VectorAvg('{f}')), 'c', q[1], metric='l2', k=2).values('cat')), '{f}', q[1], metric='l2', k={p})",
]


def make_case(rng: random.Random, data: Data) -> Case:
    return Maker(rng, data).case()


class Maker:
    """Draws one case."""

    def __init__(self, rng: random.Random, data: Data) -> None:
        self.rng, self.data, self.kind = rng, data, data.kind
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
            "n": max(high, 1), "m": low, "l": rng.randrange(3), "p": rng.randint(1, 7),
            "a": self.annotation, "f": self.field, "m_": self.metric,
            "related": f"{self._relation()}_rows",
            "x": ", exact=True" if rng.random() < 0.3 else "",
            "slice": rng.choice(["", "[:1]", "[1:3]"]),
        }

    def _relation(self) -> str:
        declaring: Any = self.kind.model
        for parent in (self.kind.model, *self.kind.model._meta.get_parent_list()):
            if any(field.name == "owner" for field in parent._meta.local_fields):
                declaring = parent
        return str(declaring._meta.concrete_model._meta.model_name) if not declaring._meta.proxy else str(declaring._meta.concrete_model._meta.model_name)

    def _field(self) -> str:
        first, *others = self.kind.fields
        return first if self.rng.random() < 0.8 else self.rng.choice(others)

    def _default(self) -> str:
        indexes = self.kind.indexes(self.field)
        if indexes:
            return str(indexes[0].metric)
        return "hamming" if self.kind.values == "bit" else "cosine"

    def case(self) -> Case:
        draws = [(self._after, 10), (self._nested, 4), (self._wrapped, 2), (self._write, 1)]
        if self.kind.values == "vector":
            draws += [(self._outer, 2)]
            if not self.kind.is_composite and self.data.count < 100 and self.data.is_whole:
                draws += [(self._grouped, 1)]
        if self.kind.children:
            draws += [(self._parents, 12)]
        elif self.kind.has_relations and self.kind.values == "vector" and self.data.is_whole:
            draws += [(self._across, 1)]
        made, weights = zip(*draws, strict=True)
        return self.rng.choices(made, weights)[0]()

    # Before, and the search itself

    def rows(self, most: int = 2) -> str:
        steps = {**BEFORE, **(BEFORE_RELATED if self.kind.has_relations else {})}
        count = self.rng.choices([0, 1, 2], [4, 5, 2])[0]
        chosen = self.rng.choices(list(steps), list(steps.values()), k=min(count, most))
        return "rows" + "".join(chosen)

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
            return f"F('{self.kind.fields[1]}')"
        return "None" if draw > 0.98 else f"q[{self.q}]"

    def fill(self, template: str, **more: Any) -> str:
        values = {**self.values, **more}
        if "{d}" in template or "{d_}" in template:
            query = self.data.queries[self.q]
            values["d"] = values["d_"] = self.data.limit(query, self.field, self.metric, self.rng)
        if "{dd}" in template:
            values["dd"] = self.data.pair_limit(self.field, self.metric, self.rng)
        return template.format(**values)

    # Kinds of cases

    def _after(self) -> Case:
        rows = self.rows()
        tied = ".distinct()" in rows and ".values" in rows
        draw = self.rng.random()
        if draw < 0.55:
            return self._rows_after(rows, tied)
        related = self.kind.has_relations
        search = self.search(rows)
        if draw < 0.7:
            after = self.rng.choice(SETS)
            if after.startswith((".difference", ".intersection")):
                search += ".values('pk')"
            if after.startswith(".union"):
                search += f".values('pk', '{self.annotation}')"
            return Case(search + self.fill(after), "set", crossing=after)
        after = self.rng.choice(EXACT + (EXACT_RELATED if related else []))
        return Case(search + self.fill(after), "exact", crossing=after)

    def _rows_after(self, rows: str, tied: bool) -> Case:
        after = self.rng.choice(ROWS + (ROWS_RELATED if self.kind.has_relations else []))
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
            f"{base}{listed}){self.fill(after)}", "tied" if tied else "rows",
            whole=f"{base}{unlisted})", window=(low, high), field=self.field, metric=self.metric,
            crossing=f"{after} of {rows.partition('.')[2]}",
        )

    def _wrapped(self) -> Case:
        compare, template = self.rng.choice(WHOLE)
        search = self.search(self.rows(1), k=False)
        return Case(self.fill(template, s=search), compare, crossing=template)

    def _nested(self) -> Case:
        templates = NESTED + (NESTED_RELATED if self.kind.has_relations else [])
        compare, template = self.rng.choice(templates)
        rows = self.rows(1)
        source = self.fill(template, s=self.search(rows))
        if "second" in template and "distinct" in rows and ".values" in rows:
            compare = "tied"
        return Case(source, compare, crossing=template)

    def _outer(self) -> Case:
        if self.data.count > 100:
            return self._nested()
        templates = OUTER + (OUTER_RELATED if self.kind.has_relations else [])
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
        after = self.rng.choice(["", "[:{n}]", ".count()", "[{m}:{n}]", ".filter(cat=1)", ".values_list('pk', '{a}')[:{n}]"])
        search = f"nearest({rows}, '{self.field}', q[{self.q}], metric='l2', annotation='{self.annotation}')"
        if self.annotation == "distance":
            search = search.replace(", annotation='distance'", "")
        return Case(search + self.fill(after), "rows", crossing=f"{self.field} {after}")

    def _parents(self) -> Case:
        self.field, self.names_metric = "chunks__embedding", True
        self.metric = self.rng.choice([name for name in self.data.metrics if name != "l1"])
        rows = self.rng.choice(
            ["rows", "rows", "rows.filter(cat__lt=2)", "rows.filter(owner__name='o1')",
             "rows.filter(tags__name='t1')", "rows.select_related('owner')", "rows.defer('embedding')",
             "rows.annotate(n=Count('tags'))", "rows.annotate(n=Count('chunks'))", "rows.distinct()"]
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
