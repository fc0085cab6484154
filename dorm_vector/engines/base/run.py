"""One run of a search at top level: in one statement, in blocks, or exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.db.transaction import TransactionManagementError

from dorm_vector.engines.base.rows import Rows, driver_column, first_rows, flat, sort
from dorm_vector.engines.base.sequence import InSequence, Step
from dorm_vector.engines.base.statements import statement_of
from dorm_vector.sql import Plan

__all__ = ["Run", "Step"]


class Read(NamedTuple):
    """The rows of a statement."""

    rows: Rows
    #: Up to which row of the block they go.
    there: int
    #: The place of the distance, or None.
    column: int | None
    #: Whether they show that no row was missed.
    is_proven: bool = True


class Run(InSequence):
    """One run of a search at top level."""

    def __init__(self, engine: Any, compiler: Any, search: Any, execute: Callable[[], Any]) -> None:
        self.engine, self.compiler, self.search = engine, compiler, search
        self.execute = execute
        self.query = compiler.query
        self.low, self.high = self.query.low_mark, self.query.high_mark
        #: Whether the first rows of a block may be read alone.
        self.may_read_first = True

    def rows(self) -> Any:
        self._refuse_to_lock()
        if self.high is not None and self.high <= self.low:
            return self.execute()
        engine, query, search = self.engine, self.query, self.search
        self.form = engine.form(self.compiler, search)
        if self.form is not None and (rows := self._once_more()) is not None:
            return rows
        if search.members is not None:
            found = search.members.found(query, search, self.compiler.using)
            return self._exactly() if found is None else self._in_sequence(found)
        if engine.obstacle(query, search):
            return self._exactly()
        self.index = engine.serving_index(query, search)
        self.steps: Sequence[Step] = (
            engine.steps(query, search, self.index) if self.index is not None else ()
        )
        if not self.steps:
            return self._exactly()
        if engine.finds_at_random and self.low == 0 and self.high > self.steps[-1].rows:
            return self._exactly()  # all rows are read anyway, and this misses none
        if query.explain_info:
            return self._explained()
        if self.high <= self.steps[0].rows and engine.can_run_at_once(query, search, self.index):
            return self._at_once(self.steps[0])
        return self._exactly() if self._sorts_all() else self._in_sequence(self._found())

    def _refuse_to_lock(self) -> None:
        """Refuse as Django does, even where the search opens a transaction of its own."""
        locks = self.query.select_for_update
        connection = self.compiler.connection
        if locks and connection.features.has_select_for_update and connection.get_autocommit():
            raise TransactionManagementError(
                "select_for_update cannot be used outside of a transaction."
            )

    def _explained(self) -> Any:
        """The database's plan for the block that holds the last row."""
        step = self.engine.step_of(self.query, self.steps)
        plan = self.engine.indexed(self.query, self.search, self.index, step)
        with self.engine.settings_for(self.search, self.index, step):
            return list(self._run(plan))

    def _once_more(self) -> Any:
        """The rows by a statement that is written already, or None."""
        statement = self.engine.search_statements.get(self.form)
        if statement is None:
            return None
        compiler, vector = self.compiler, self.query.query_vector
        param = self.engine.cached_parameter(vector.value, vector.kind)
        compiler.written = statement.sql, (param,) * statement.vectors
        vars(compiler).update(statement.written)
        compiler.is_written = True
        try:
            rows = flat(self.execute())
        finally:
            compiler.is_written = False
        if statement.first is None:
            rows, there = self._counted(rows, statement.is_counted)
            sort(rows, statement.column)
        else:
            found = first_rows(rows, statement.first, statement.sorted_by, statement.unasked)
            if found is None:
                self.may_read_first = False
                return None
            rows, there = found
        wanted = self.high - self.low
        rows = rows[statement.before : statement.before + wanted]
        if there < statement.least or len(rows) < wanted:
            self.engine.search_statements.drop(self.form)
            return None
        return [self._within_max_distance(rows, statement.column)]

    def _at_once(self, step: Step) -> Any:
        """One statement, and others if it comes back short."""
        engine, search, index = self.engine, self.search, self.index
        plan = engine.indexed(self.query, search, index, step)
        before, least = self._limited(plan, step)
        with engine.settings_for(search, index, step):
            read = self._read(plan, step)
            short = read is not None and read.there < least and engine.is_cut_short(self.compiler)
        if read is None or (short and engine.needs_other_settings(search, index)):
            return self._at_once(step)
        if short and engine.reads_first_rows(self.query, search, index):
            return self._in_sequence(self._found())
        if not read.is_proven and (wider := engine.wider(index, step, read.there)):
            return self._at_once(wider)
        column, wanted = read.column, self.high - self.low
        rows = read.rows[before:]
        distances = [] if column is None else [row[column] for row in rows]
        undecided = plan.plan.coarse is None and engine.is_undecided(distances, wanted)
        if short or undecided or not read.is_proven:
            return self._exactly()
        if len(rows) < wanted and read.there >= least:  # the whole block, save perhaps its last row
            return self._in_sequence(self._found())
        # What is kept for most vectors is not lost by one that has equally near rows.
        if read.there >= least and self.may_read_first and self._is_all_that_it_takes(step):
            self._keep(plan, before, least, column)
        within = self._within_max_distance(rows[:wanted], column)
        if len(within) < len(rows[:wanted]) and self._may_have_missed:
            return self._in_sequence(self._found())
        return [within]

    def _limited(self, plan: Any, step: Step) -> tuple[int, int]:
        """
        Have a plan read what it takes of a block: its first rows, or all of it.

        Return how many rows it reads before those that are wanted, and how many there have to be.
        """
        engine = self.engine
        if self.may_read_first and (least := engine.read_first(plan, self.index, step)):
            return 0, least
        before = engine.widen(plan, self.index, step)
        wanted = self.high - self.low
        return before, step.rows - engine.slack if engine.reads_blocks else wanted + before

    def _read(self, plan: Any, step: Step) -> Read | None:
        """The rows of a plan, or None where its first rows do not show that no others matter."""
        compiler, how = self.compiler, plan.plan
        rows = flat(self._run(plan))
        column = driver_column(compiler, self.search.annotation)
        if how.first is not None:
            found = first_rows(rows, how.first, compiler.sorted_by, compiler.unasked)
            if found is None:
                self.may_read_first = False
                return None
            return Read(*found, column)
        rows, there = self._counted(rows, how.sent is not None)
        sort(rows, column)
        return self._proven(rows, there, column, how, step)

    def _is_all_that_it_takes(self, step: Step) -> bool:
        """Whether the statement alone gives the rows, each time in the same way."""
        needs = self.engine.needs_settings(self.search, self.index, step)
        return self.form is not None and not (needs or self._may_have_missed)

    def _keep(self, plan: Any, before: int, least: int, column: int | None) -> None:
        vector = self.query.query_vector
        statement = statement_of(
            self.compiler,
            self.engine.cached_parameter(vector.value, vector.kind),
            self.search,
            before=before,
            least=least,
            is_counted=plan.plan.sent is not None,
            column=column,
            first=plan.plan.first,
            sorted_by=self.compiler.sorted_by,
            unasked=self.compiler.unasked,
        )
        if statement is not None:
            self.engine.search_statements.keep(self.form, statement)

    def _counted(self, rows: Rows, is_counted: bool) -> tuple[Rows, int]:
        """The rows, and how many of them there are in the block."""
        if not is_counted:
            return rows, len(rows)
        return [row[:-1] for row in rows], rows[0][-1] if rows else 0

    def _proven(self, rows: Rows, there: int, column: int | None, plan: Plan, step: Step) -> Read:
        """The rows without what is sent behind them, and whether that shows that none is missed."""
        if plan.coarse is None or column is None:
            return Read(rows, there, column)
        measured = [(row[column], row[-1]) for row in rows]
        return Read([row[:-1] for row in rows], there, column, self._is_proven(measured, step))

    def _within_max_distance(self, rows: Rows, column: int | None) -> Rows:
        if column is None or self.search.max_distance is None:
            return rows
        return [row for row in rows if row[column] <= self.search.max_distance]
