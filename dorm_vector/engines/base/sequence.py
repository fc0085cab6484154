"""
A search whose rows come in blocks.

An index finds other rows with other numbers of candidates, so that pages would overlap or leave
gaps. So the rows have one sequence, made of blocks: the first ``Step`` of the index gives the first
rows, each later one what lies beyond them, and past the last step the table is read.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from dorm_vector.engines.base.rows import Rows, flat
from dorm_vector.sql import Plan

__all__ = ["EXACT", "STRIDE", "Found", "InSequence", "Step"]

EXACT = Plan()

# The first rows of a block are read in so many at a time, and kept in so many where there are no
# more: whichever slice is read, it is known what belongs to the sequence.
STRIDE = 10


class Step(NamedTuple):
    """The row up to which a block of the sequence goes, and how many candidates it takes."""

    rows: int
    candidates: int


class Found(NamedTuple):
    """Primary keys in the order of the search, by block, and whether they are all there are."""

    blocks: list[list[Any]]
    complete: bool
    #: The distance of the last of them; nearer rows that are not among them were missed.
    last: float = -math.inf
    #: The keys of those that a block has found after an earlier one had missed them. They come
    #: last where there are no others.
    late: Sequence[Any] = ()


class InSequence:
    """The part of a run that reads blocks, and the rows of a slice by their keys."""

    engine: Any
    compiler: Any
    search: Any
    query: Any
    index: Any
    steps: Sequence[Step]
    execute: Callable[[], Any]
    low: int
    high: int

    def _run(self, query: Any) -> Any:
        self.compiler.query = query
        return self.execute()

    def _exactly(self) -> Any:
        query = self.query.clone()
        query.plan = EXACT
        return self._run(query)

    @property
    def _may_have_missed(self) -> bool:
        """Whether rows that the index has not found may be nearer than those that it has."""
        return self.index.reduction not in (None, "half") or not self.index.is_ordered

    def _is_proven(self, measured: Sequence[tuple[float, float]], step: Step) -> bool:
        if len(measured) < step.rows:
            return False
        last = measured[step.rows - 1][0]
        if self.search.max_distance is not None:
            last = min(last, self.search.max_distance)
        return bool(self.engine.is_proven(self.index, measured, last))

    def _found(self) -> Found:
        """The keys of the sequence up to the last row that is asked for, or the last step."""
        blocks, seen, last, end = list[list[Any]](), set[Any](), -math.inf, -math.inf
        late = dict[Any, float]()
        most = math.inf if self.search.max_distance is None else self.search.max_distance
        for step in self.steps:
            if sum(map(len, blocks)) >= self.high:
                break
            block, complete = self._block(step)
            if block is None:
                break
            fresh = [(pk, d) for pk, d in block if pk not in seen]
            # What an earlier block has missed is none of this one's, and comes from the table.
            late.update((pk, d) for pk, d in fresh if d < last)
            beyond = [(pk, d) for pk, d in fresh if d >= last]
            kept = beyond[: step.rows - len(seen)]
            complete = complete and len(kept) == len(fresh)
            keys = [pk for pk, d in kept if d <= most]
            if blocks and kept and kept[0][1] > end:  # one statement reads both in order
                blocks[-1] += keys
            else:
                blocks.append(keys)
            end = kept[-1][1] if kept else end
            seen.update(pk for pk, _ in kept)
            # A larger block may end nearer, of rows that the one before has missed.
            reached = block if len(kept) == len(beyond) else kept
            last = max(last, reached[-1][1]) if reached else last
            if len(block) < step.rows - self.engine.slack and not complete:
                break
            if complete or (last > most and not self._may_have_missed):
                return Found(blocks, True, last, sorted(late, key=lambda pk: late[pk]))
            if last > most:
                break
        return Found(blocks, False, last)

    def _block(self, step: Step) -> tuple[list[tuple[Any, float]] | None, bool]:
        """The keys and distances that the index finds for a step; None if it cannot."""
        engine, search = self.engine, self.search
        query = self._plan_of_block(step)
        with engine.settings_for(search, self.index, step):
            queryset = self._keyed(query)
            # The number of rows may follow them.
            read = list(queryset)
            block = [(row[0], row[1]) for row in read]
            short = len(block) < step.rows - engine.slack
            compiler = queryset.query.get_compiler(self.compiler.using)
            cut_short = short and engine.is_cut_short(compiler)
        if cut_short and engine.needs_other_settings(search, self.index):
            return self._block(step)
        block.sort(key=operator.itemgetter(1))
        if cut_short:
            is_first = step in self.steps[:1]
            keeps = is_first and engine.reads_first_rows(self.query, search, self.index)
            kept = len(block) - len(block) % STRIDE if keeps else 0
            return block[:kept] or None, False
        if query.plan.coarse is None:
            undecided = engine.is_undecided([d for _, d in block], step.rows)
            return (None, False) if undecided else (block, short)
        if not self._is_proven([row[1:3] for row in read], step):
            wider = engine.wider(self.index, step, len(read))
            return self._block(wider) if wider else (None, False)
        return block[: step.rows], short

    def _plan_of_block(self, step: Step) -> Any:
        query = self.query.clone()
        query.select_for_update = query.select_related = False
        query = self.engine.indexed(query, self.search, self.index, step)
        query.clear_limits()
        query.set_limits(0, step.rows)
        self.engine.widen(query, self.index, step)
        return query

    def _sorts_all(self) -> bool:
        """
        Whether the database sorts all rows that pass a filter rather than search the index.

        If it does for the first block it does for later ones, which cost an index more.
        """
        if not self.engine.may_sort_all(self.query, self.index):
            return False
        step = self.steps[0]
        query = self._keyed(self._plan_of_block(step)).query
        with self.engine.settings_for(self.search, self.index, step):
            return not self.engine.is_cut_short(query.get_compiler(self.compiler.using))

    def _keyed(self, query: Any) -> QuerySet[Any]:
        query = query.clone()
        query.select_for_update = query.select_related = False
        query.set_annotation_mask(None)
        rows: QuerySet[Any] = QuerySet(query.model, query, self.compiler.using)
        return rows.values_list("pk", self.search.annotation)

    def _in_sequence(self, found: Found) -> Any:
        """The rows of the keys, followed by the other rows of the table."""
        keys = [key for block in found.blocks for key in block]
        if not keys and not found.complete:
            return self._exactly()
        rows, given, start = [], list[Any](), 0
        for block in found.blocks:
            # Block by block: rows of two blocks may be equally near.
            part = block[max(self.low - start, 0) : max(self.high - start, 0)]
            start += len(block)
            if part:
                given += part
                rows += flat(self._run(self._of(Q(pk__in=part))))
        if late := found.late[max(self.low - start, 0) : max(self.high - start, 0)]:
            return self._run(self._of(Q(pk__in=[*given, *late])))
        if not found.complete and start < self.high:
            rows = self._and_rest(rows, given, keys, found.last, start)
            if self.low == 0 and len(rows) < self.high:  # these are all rows
                return self._exactly()
        return [rows] if rows else self._run(self._of(Q(pk__in=[])))

    def _and_rest(self, rows: Rows, given: Rows, keys: Rows, last: float, start: int) -> Rows:
        """
        The rows with the keys ``given``, followed by those that are not among the ``keys``.

        First those beyond the last key, then those that were missed, sorted in.
        """
        distance, low, high = self.search.annotation, max(self.low - start, 0), self.high - start
        beyond = self._of(~Q(pk__in=keys) & Q(**{f"{distance}__gte": last}))
        beyond.set_limits(low, high)
        found = flat(self._run(beyond))
        if low + len(found) >= high:
            return rows + found
        length = low + len(found)
        if low and not found:
            length = self._of(~Q(pk__in=keys) & Q(**{f"{distance}__gte": last})).get_count(
                self.compiler.using
            )
        missed = self._of(~Q(pk__in=keys) & Q(**{f"{distance}__lt": last}))
        missed.set_limits(max(low - length, 0), high - length)
        others = [key for key, _ in self._keyed(missed)]
        if not others:
            return rows + found
        between = [key for key, _ in self._keyed(beyond)] if found else []
        return flat(self._run(self._of(Q(pk__in=[*given, *between, *others]))))

    def _of(self, condition: Q) -> Any:
        """The exact query for the rows that meet a condition."""
        query = self.query.clone()
        query.clear_limits()
        query.plan = EXACT
        query.add_q(condition)
        return query
