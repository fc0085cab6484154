"""
The fuzzer of ``fuse()``: ``python -m tests.fuzz.fusion --seconds 600 --seed 1``.

Each round makes one model's tables on every engine, as the fuzzer of searches does, and fuses
random searches of it. What each leg finds by itself is read first; what their fusion has to be, and
what is left of it after filters, slices and other queries, is computed by a few lines of Python.
"""

from __future__ import annotations

import argparse
import collections
import math
import random
import sys
import time
from typing import Any

from tests.fuzz import search

__all__ = ["main"]

CASES = 40
EXAMPLES = 2


def main(arguments: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.fusion", description=__doc__)
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--seed", type=int, default=None, help="default: a fresh one, printed")
    made.add_argument("--engine", action="append", choices=["sqlite", "postgresql", "libsql"])
    made.add_argument("--replay", help="ROUND.CASE of a run with the same seed")
    options = made.parse_args(arguments)
    search.setup()
    return Run(options).run()


class Run:
    """Counts cases and failures until the time is over."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.seed = random.randrange(10**6) if options.seed is None else options.seed
        self.engines = options.engine or ["sqlite", "postgresql", "libsql"]
        self.cases = 0
        self.failures: collections.Counter[str] = collections.Counter()

    def run(self) -> int:
        print(f"seed {self.seed}", flush=True)
        start, number = time.monotonic(), 0
        if self.options.replay:
            place, _, case = self.options.replay.partition(".")
            self.round(int(place), [int(case)], math.inf)
        while not self.options.replay and time.monotonic() - start < self.options.seconds:
            self.round(number, range(CASES), start + self.options.seconds)
            number += 1
        seconds = time.monotonic() - start
        failures = sum(self.failures.values())
        print(f"\n{self.cases} cases in {seconds:.0f} s, {failures} failures, seed {self.seed}")
        for failure, count in self.failures.most_common():
            print(f"{count:6}  {failure}")
        return 1 if failures else 0

    def round(self, number: int, cases: Any, end: float) -> None:
        from tests.fuzz import search_data, search_models, search_tables

        rng = random.Random(f"{self.seed}/{number}")
        setups = list(search_models.SETUPS.values())
        setup = rng.choice(setups + 3 * [setup for setup in setups if setup.has_words])
        name = rng.choice(["few", "whole", "whole", "real", "equal"])
        data = search_data.Data(setup, name, rng)
        engines = [engine for engine in self.engines if engine in setup.engines]
        with search_tables.tables(data, engines):
            for place in cases:
                for engine in engines:
                    self.case(data, engine, number, place)
                if time.monotonic() > end:
                    break

    def case(self, data: Any, engine: str, number: int, place: int) -> None:
        from tests.fuzz.fusion_cases import Case

        case = Case(random.Random(f"{self.seed}/{number}/{place}"), data, engine)
        self.cases += 1
        failure = case.failure()
        if failure is None:
            return
        label = f"{engine}: {case.after}"
        self.failures[label] += 1
        if self.failures[label] <= EXAMPLES:
            where = f"--seed {self.seed} --replay {number}.{place} --engine {engine}"
            print(f"\nFAILED python -m tests.fuzz.fusion {where}")
            print(f"  {data.setup.name}, {data.name}\n  {case.source}\n  {failure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
