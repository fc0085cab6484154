"""
The differential fuzzer of ``nearest()``: ``python -m tests.fuzz.search --seconds 600 --seed 1``.

Each round makes one model's tables on every engine and for the oracle, loads them with the same
rows, and runs random searches. A failure is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import sys
import time
from typing import Any

__all__ = ["main"]

CASES = {"none": 30, "few": 60, "many": 30}
EXAMPLES = 2


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    setup()
    return Run(options).run()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.search", description=__doc__)
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--seed", type=int, default=None, help="default: a fresh one, printed")
    made.add_argument("--engine", action="append", choices=["sqlite", "postgresql", "libsql"])
    made.add_argument("--model", action="append", help="only rounds of this model")
    made.add_argument("--data", action="append", help="only rounds of such data")
    made.add_argument("--replay", help="ROUND.CASE of a run with the same seed")
    made.add_argument("--examples", type=int, default=EXAMPLES, help="printed of each failure")
    return made


def setup() -> None:
    """Django with the settings of the fuzzer, and all that every round needs in the databases."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.fuzz.search_settings"
    import django

    django.setup()
    from tests.fuzz import search_tables

    search_tables.prepare()


class Run:
    """Counts cases and failures until the time is over."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.seed = random.randrange(10**6) if options.seed is None else options.seed
        self.engines = options.engine or ["sqlite", "postgresql", "libsql"]
        self.cases = self.failures = 0
        self.by_label: collections.Counter[str] = collections.Counter()

    def run(self) -> int:
        print(f"seed {self.seed}", flush=True)
        start = time.monotonic()
        if self.options.replay:
            number, _, case = self.options.replay.partition(".")
            self.round(int(number), [int(case)])
        else:
            number = 0
            while time.monotonic() - start < self.options.seconds:
                self.round(number, None, start + self.options.seconds)
                number += 1
        self.summarise(time.monotonic() - start)
        return 1 if self.failures else 0

    def round(self, number: int, cases: list[int] | None, end: float = float("inf")) -> None:
        from tests.fuzz import search_data, search_tables

        setup, name = self.chosen(number)
        if self.is_left_out(setup, name):
            return
        data = search_data.Data(setup, name, random.Random(f"{self.seed}/{number}"))
        engines = [engine for engine in self.engines if engine in setup.engines]
        with search_tables.tables(data, engines):
            for case in cases or range(CASES.get(name, 100)):
                self.case(data, engines, number, case)
                if time.monotonic() > end:
                    break

    def chosen(self, number: int) -> tuple[Any, str]:
        from tests.fuzz import search_data, search_models

        setups = list(search_models.SETUPS.values())
        cycle, place = divmod(number, len(setups))
        random.Random(f"{self.seed}/kinds/{cycle}").shuffle(setups)
        names, weights = zip(*search_data.WEIGHTS.items(), strict=True)
        setup = setups[place]
        name = random.Random(f"{self.seed}/data/{number}").choices(names, weights)[0]
        # The rows of inheriting models are saved one by one.
        slow = len(setup.tables) > 1 and name == "many"
        return setup, "real" if slow else name

    def is_left_out(self, setup: Any, name: str) -> bool:
        models, data = self.options.model, self.options.data
        return bool((models and setup.name not in models) or (data and name not in data))

    def case(self, data: Any, engines: list[str], number: int, place: int) -> None:
        from tests.fuzz import search_cases, search_steps

        case = search_steps.make_case(random.Random(f"{self.seed}/{number}/{place}"), data)
        expected = search_cases.evaluate(case, data, search_cases.ORACLE)
        for engine in engines:
            if engine == "libsql" and has_l1(case, data):
                continue
            rng = random.Random(f"{self.seed}/{number}/{place}/{engine}")
            settings = search_cases.settings_of(engine, rng)
            self.cases += 1
            failure = search_cases.check(case, data, engine, settings, expected)
            if failure is not None:
                where = f"--seed {self.seed} --replay {number}.{place} --engine {engine}"
                self.report(data, case, where, settings, expected, *failure)

    def report(
        self, data: Any, case: Any, where: str, settings: str, expected: Any, reason: str, got: Any
    ) -> None:
        self.failures += 1
        engine = where.rpartition(" ")[2]
        label = reason if "raise" in reason else f"{reason} | {case.crossing}"
        self.by_label[f"{engine}: {label}"] += 1
        if self.by_label[f"{engine}: {label}"] > self.options.examples:
            return
        print(f"\nFAILED {reason}")
        print(f"  python -m tests.fuzz.search {where}")
        print(f"  {data.setup.name}, {data.name}, {case.compare}, settings: {settings or 'none'}")
        print(f"  {case.source}")
        print(f"  expected {shortened(expected)}")
        print(f"  got      {shortened(got)}", flush=True)

    def summarise(self, seconds: float) -> None:
        from tests.fuzz.search_cases import RECALLS

        print(
            f"\n{self.cases} cases in {seconds:.0f} s, {self.failures} failures, seed {self.seed}"
        )
        for label, count in self.by_label.most_common():
            print(f"{count:6}  {label}")
        for name, counts in sorted(RECALLS.items()):
            found, wanted = map(sum, zip(*counts, strict=True))
            print(f"{len(counts):6} answers of {name} differ from the exact ones: {found}/{wanted}")


def has_l1(case: Any, data: Any) -> bool:
    """Whether a case may need the metric that libSQL lacks."""
    declared = any(index.metric == "l1" for index in data.setup.indexes("embedding"))
    named = "'l1'" in case.source or "L1Distance" in case.source
    return named or declared  # one search of several may leave the metric to the index


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 900 else f"{text[:450]} ... {text[-450:]}"


if __name__ == "__main__":
    sys.exit(main())
