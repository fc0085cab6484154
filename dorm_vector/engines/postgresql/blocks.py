"""The blocks of a search by pgvector's indexes."""

from __future__ import annotations

import functools

from dorm_vector.engines.base.sequence import Step

__all__ = [
    "DEFAULT_EF_SEARCH",
    "GOES_ON",
    "HIGH_LADDER",
    "HIGH_READ",
    "LADDER",
    "MORE_READ",
    "ladder",
]

DEFAULT_EF_SEARCH = 40

# How many rows the blocks of the sequence reach, and with how many candidates. The first one is
# what an index finds with its defaults. Later ones are large enough not to miss much, and more of
# their rows are read: those that an earlier one has, or has missed, are none of theirs.
LADDER = ((40, 40), (125, 200), (250, 400), (500, 800), (1000, 1000))
MORE_READ = 1.2
# A scan in strict order goes on from its candidates to others, and is the same one however many
# rows are read: the first block then reaches so far. Up to the first number the planner chooses as
# it does for few rows; up to the second it is asked.
GOES_ON = (50, 125)
# The same for recall="high", and how many times as many rows as a block has are read of the index
# then, in relaxed order: docs/performance.rst has the curve.
HIGH_LADDER = ((10, 400), (40, 400), (100, 800), (250, 1000), (1000, 1000))
HIGH_READ = 4


@functools.lru_cache(maxsize=256)
def ladder(least: int, left_out: int, is_filtered: bool) -> tuple[Step, ...]:
    """The steps of an index whose first block has ``least`` candidates."""
    # With a filter the index has to go further for each row.
    first = [Step(10, least)] if is_filtered else []
    later = [Step(*step) for step in LADDER if step[0] > least]
    return (*first, Step(least - left_out, least), *later)
