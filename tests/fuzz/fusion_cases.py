"""Random fusions as Python source, and what they have to be."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from dorm_vector import fuse, hybrid, matching
from tests.fuzz import search_cases
from tests.fuzz.search_data import Data

__all__ = ["Case"]


class Hit(NamedTuple):
    """A row of a fusion, as it has to be."""

    row: Any
    score: float
    ranks: tuple[int | None, ...]

    @property
    def pk(self) -> Any:
        return self.row.pk

    @property
    def linked(self) -> Any:
        """The key by which other tables know the row: of the model that declares the relations."""
        return getattr(self.row, "id", self.row.pk)


Hits = list[Hit]


class Asked(NamedTuple):
    """What a case asks of a fusion, besides the numbers of its source: the rows of the table."""

    rows: dict[Any, Any]
    numbers: dict[str, int]
    links: set[tuple[Any, int]]


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


def by_score(hits: Hits) -> Hits:
    return sorted(hits, key=lambda hit: (-hit.score, hit.pk))


def kept(condition: Callable[[Any], bool]) -> Callable[[Hits, Asked], Any]:
    """The keys of the hits whose row fulfils a condition."""
    return lambda hits, asked: keys(hit for hit in hits if condition(hit.row))


def counted(hits: Hits) -> dict[int, int]:
    found: dict[int, int] = {}
    for hit in hits:
        found[hit.row.cat] = found.get(hit.row.cat, 0) + 1
    return found


def window(hits: Any, asked: Asked) -> Any:
    return hits[asked.numbers["m"] : asked.numbers["n"]]


def others(hits: Hits, asked: Asked) -> set[Any]:
    return set(asked.rows) - set(keys(hits))


# What is evaluated, with the fusion as ``s``, and what has to come of it.
AFTER: dict[str, Callable[[Hits, Asked], Any]] = {
    "keys(s)": lambda hits, asked: keys(hits),
    "keys(s[:{n}])": lambda hits, asked: keys(hits[: asked.numbers["n"]]),
    "keys(s[{m}:{n}])": lambda hits, asked: keys(window(hits, asked)),
    "keys(s[{m}:])": lambda hits, asked: keys(hits[asked.numbers["m"] :]),
    "keys(s.filter(cat__lt=2))": kept(lambda row: row.cat < 2),
    "keys(s.filter(cat__lt=2)[{m}:{n}])": lambda hits, asked: window(
        kept(lambda row: row.cat < 2)(hits, asked), asked
    ),
    "keys(s.exclude(cat=0))": kept(lambda row: row.cat != 0),
    "keys(s.exclude(cat=0).filter(name__gt='n00003'))": kept(
        lambda row: row.cat != 0 and row.name > "n00003"
    ),
    "keys(s.order_by('name')[{m}:{n}])": lambda hits, asked: window(
        keys(sorted(hits, key=lambda hit: hit.row.name)), asked
    ),
    "keys(s.reverse())": lambda hits, asked: keys(hits[::-1]),
    "list(s.values_list('score', 'score_ranks'))": lambda hits, asked: [
        (hit.score, hit.ranks) for hit in hits
    ],
    "[(r.score, r.score_ranks) for r in s.only('name')[{m}:{n}]]": lambda hits, asked: [
        (hit.score, hit.ranks) for hit in window(hits, asked)
    ],
    "list(s.values_list('name', flat=True)[:{n}])": lambda hits, asked: [
        hit.row.name for hit in hits[: asked.numbers["n"]]
    ],
    "(s.count(), s.exists(), s[{m}:{n}].count())": lambda hits, asked: (
        len(hits),
        bool(hits),
        len(window(hits, asked)),
    ),
    "s.aggregate(a=Max('score'), b=Min('cat'))": lambda hits, asked: {
        "a": max((hit.score for hit in hits), default=None),
        "b": min((hit.row.cat for hit in hits), default=None),
    },
    "dict(s.order_by().values_list('cat').annotate(n=Count('name')))": lambda hits, asked: counted(
        hits
    ),
    "set(keys(rows.filter(pk__in=s)))": lambda hits, asked: set(keys(hits)),
    "set(keys(rows.exclude(pk__in=s)))": others,
    "set(keys(rows.filter(pk__in=s[{m}:{n}])))": lambda hits, asked: set(keys(window(hits, asked))),
    "set(keys(rows.filter(Exists(s.filter(name=OuterRef('name'))))))": lambda hits, asked: set(
        keys(hits)
    ),
    (
        "dict(rows.annotate(x=Subquery(s.filter(name=OuterRef('name')).values('score')[:1]))"
        ".exclude(x=None).values_list('name', 'x'))"
    ): lambda hits, asked: {hit.row.name: hit.score for hit in hits},
    "set(keys(s | rows.filter(cat=0)))": lambda hits, asked: (
        set(keys(hits)) | {key for key, row in asked.rows.items() if row.cat == 0}
    ),
    "set(keys(s & rows.filter(cat=0)))": lambda hits, asked: set(
        kept(lambda row: row.cat == 0)(hits, asked)
    ),
    "set(keys(s.filter(cat=0) | s.filter(cat=2)))": lambda hits, asked: set(
        kept(lambda row: row.cat in (0, 2))(hits, asked)
    ),
    "set(s.order_by().values_list('name').union(rows.filter(cat=0).values_list('name')))": (
        lambda hits, asked: (
            {(hit.row.name,) for hit in hits}
            | {(row.name,) for row in asked.rows.values() if row.cat == 0}
        )
    ),
    "keys(s.filter(score__gt={x}))": lambda hits, asked: keys(
        hit for hit in hits if hit.score > 1.5 / 62
    ),
    "[r.y for r in s.annotate(y=F('score') * 2)[:{n}]]": lambda hits, asked: [
        hit.score * 2 for hit in hits[: asked.numbers["n"]]
    ],
    "[r.best for r in s.annotate(best=Max('score'))[:{n}]]": lambda hits, asked: [
        hit.score for hit in hits[: asked.numbers["n"]]
    ],
    "keys(pickled(s.all()))": lambda hits, asked: keys(hits),
    "unpickled_query(s)": lambda hits, asked: keys(hits),
    "keys(deepcopy(s))": lambda hits, asked: keys(hits),
    "keys(paged(s, 3, 10))": lambda hits, asked: keys(hits[:12]),
    "keys(s.iterator(chunk_size=2))": lambda hits, asked: keys(hits),
    "getattr(s.first(), 'pk', None)": lambda hits, asked: hits[0].pk if hits else None,
    "getattr(s.last(), 'pk', None)": lambda hits, asked: hits[-1].pk if hits else None,
    "set(s.in_bulk(keys(s)[:3]))": lambda hits, asked: set(keys(hits[:3])),
    "is_own_query(s)": lambda hits, asked: True,
    "set(keys(nearest(s, 'other', F('other'))))": kept(
        lambda row: row.other is not None and any(row.other)
    ),
    "keys(fuse(s[:{n}], s[:{n}]))": lambda hits, asked: keys(hits[: asked.numbers["n"]]),
}
RELATED: dict[str, Callable[[Hits, Asked], Any]] = {
    "[(r.pk, r.owner_id) for r in s.select_related('owner')[:{n}]]": lambda hits, asked: [
        (hit.pk, hit.row.owner_id) for hit in hits[: asked.numbers["n"]]
    ],
    "[len(r.tags.all()) for r in s.prefetch_related('tags')]": lambda hits, asked: [
        sum(key == hit.linked for key, _ in asked.links) for hit in hits
    ],
    "keys(s.filter(tags__name='t1'))": lambda hits, asked: keys(
        hit for hit in hits if (hit.linked, 1) in asked.links
    ),
    "keys(s.exclude(tags__name='t1'))": lambda hits, asked: keys(
        hit for hit in hits if (hit.linked, 1) not in asked.links
    ),
    "keys(s.filter(owner__name='o1'))": kept(lambda row: row.owner_id == 1),
    "[r.n for r in s.annotate(n=Count('tags'))]": lambda hits, asked: [
        sum(key == hit.linked for key, _ in asked.links) for hit in hits
    ],
}
SETS = "set("
# Of a composite key in a subquery, stock Django on SQLite loses the slice.
SLICED_KEYS = "pk__in=s["


class Case:
    """One fusion, and what is done with it."""

    def __init__(self, rng: random.Random, data: Data, engine: str) -> None:
        self.rng, self.data = rng, data
        self.alias = search_cases.ENGINES[engine]
        self.numbers = {"m": rng.randrange(6), "n": rng.randrange(1, 15)}
        self.legs = [self._leg() for _ in range(rng.choice([1, 2, 2, 2, 3]))]
        self.k = rng.choice([60, 60, 60, 1, 7.5])
        self.weights = rng.choice([None, None, [rng.choice([0.5, 1, 2]) for _ in self.legs]])
        self.after = self._after()
        given = f"k={self.k}, weights={self.weights}"
        self.fusion = f"fuse({', '.join(self.legs)}, {given})"
        self.filled = self.after.format(**self.numbers, x=1.5 / 62)
        self.source = f"{self.filled}  # s = {self.fusion}"

    def _leg(self) -> str:
        draw, count = self.rng.random(), self.rng.randrange(1, 12)
        rows = self.rng.choice(
            ["rows", "rows", "rows.filter(cat__lt=2)", "rows.exclude(name='n00001')"]
            + ["rows.filter(tags__name='t1')"] * self.data.setup.has_relations
        )
        if self.data.setup.has_words and self.rng.random() < 0.5:
            return self._words(rows, count)
        if draw < 0.6:
            field = self.rng.choice(["embedding", *self.data.setup.fields])
            metric = self.rng.choice([name for name in self.data.metrics if name != "l1"])
            query = self.rng.randrange(len(self.data.queries))
            return f"nearest({rows}, '{field}', q[{query}], metric='{metric}', k={count})"
        if draw < 0.9:
            order = self.rng.choice(["'name'", "'-name'", "'cat', 'name'", "'-day', 'name'"])
            start = self.rng.choice([0, 0, self.rng.randrange(3)])
            return f"{rows}.order_by({order})[{start}:{start + count}]"
        if draw < 0.95:
            return f"fuse(rows.order_by('name')[:9], rows.order_by('-name')[:9])[:{count}]"
        return "rows.none()"

    def _words(self, rows: str, count: int) -> str:
        numbers = self.rng.sample(range(max(self.data.count, 6)), 6)
        text = repr(" ".join(f"n{number:05}" for number in numbers[: self.rng.randrange(1, 7)]))
        if self.rng.random() < 0.7:
            return f"matching({rows}, {text}, match='any', k={count})"
        query = self.rng.randrange(len(self.data.queries))
        return f"hybrid({rows}, 'embedding', q[{query}], {text}, metric='l2', k={count})"

    def _after(self) -> str:
        related = self.data.setup.has_relations
        table = {**AFTER, **(RELATED if related else {})}
        left_out = tuple(part for part, is_there in self._cannot().items() if is_there)
        table = {each: found for each, found in table.items() if not any_in(left_out, each)}
        return self.rng.choice(list(table))

    def _cannot(self) -> dict[str, bool]:
        """The parts of what cannot be done with the model, fusion or not."""
        setup = self.data.setup
        return {
            SLICED_KEYS: setup.is_composite,
            "nearest(s, 'other'": "other" not in setup.fields or setup.values != "vector",
            # A Query that adds conditions as it is compiled does so to the inner query too.
            "exclude(tags__": setup.name.endswith("Live"),
        }

    def failure(self) -> str | None:
        """What is wrong, in one line, or None."""
        searches = {"fuse": fuse, "hybrid": hybrid, "matching": matching, "keys": keys}
        names = {**search_cases.namespace(self.data, self.alias), **searches}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                hits, asked = self._expected(names)
                expected = {**AFTER, **RELATED}[self.after](hits, asked)
                got = eval(self.filled, {**names, "s": eval(self.fusion, names)})
            except Exception as error:
                return f"raised {type(error).__name__}: {error}"
        if self.after.startswith("set(keys(nearest"):
            expected = set(expected)
        return None if close(got, expected) else f"expected {expected}\n  got      {got}"

    def _expected(self, names: dict[str, Any]) -> tuple[Hits, Asked]:
        rows = {row.pk: row for row in names["rows"].all()}
        ranks: dict[Any, list[int | None]] = {}
        for place, leg in enumerate(self.legs):
            for rank, key in enumerate(keys(eval(leg, names)), start=1):
                found = ranks.setdefault(key, [None] * len(self.legs))
                found[place] = found[place] or rank
        weights = self.weights or [1] * len(self.legs)
        hits = [
            Hit(rows[key], math.fsum(self._parts(found, weights)), tuple(found))
            for key, found in ranks.items()
        ]
        return by_score(hits), Asked(rows, self.numbers, set(self.data.links))

    def _parts(self, ranks: Any, weights: Any) -> list[float]:
        pairs = zip(weights, ranks, strict=True)
        return [weight / (self.k + rank) for weight, rank in pairs if rank is not None]


def any_in(parts: tuple[str, ...], source: str) -> bool:
    return any(part in source for part in parts)


def close(got: Any, expected: Any) -> bool:
    """Whether values are equal, with tuples for lists."""
    if isinstance(expected, list | tuple):
        return len(got) == len(expected) and all(map(close, got, expected))
    return bool(got == expected)
