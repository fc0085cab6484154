"""
Random expressions of vectors in every position of the ORM: three engines and numpy.

``python -m tests.fuzz.expressions --seconds 60 --seed 1``. Each case has a number, which a failure
prints: ``--case`` runs it alone. What no arithmetic in float32 can tell is left out of the
comparison: the direction of what is nearly zero, and which side of a threshold is as near as that.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator

__all__ = ["main"]

ALIASES = ("default", "postgresql", "libsql")


def main(arguments: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.expressions", description=__doc__)
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--seed", type=int, default=None, help="default: a fresh one, printed")
    made.add_argument("--case", type=int, default=None, help="run this case alone")
    options = made.parse_args(arguments)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.fuzz.search_settings"
    import django

    django.setup()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    return run(seed, options.seconds, options.case)


def run(seed: int, seconds: float, only: int | None) -> int:
    from django.db import connections

    from tests.fuzz import expression_cases
    from tests.testapp.models import Full

    print(f"seed {seed}", flush=True)
    for alias in ALIASES:
        with connections[alias].schema_editor() as editor:
            if alias == "postgresql":
                editor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            editor.create_model(Full)
    end, failures, count = time.monotonic() + seconds, 0, 0
    for number in cases(only):
        if only is None and time.monotonic() > end:
            break
        count += 1
        for difference in expression_cases.run_case(random.Random(f"{seed}.{number}"), ALIASES):
            failures += 1
            again = f"--seed {seed} --case {number}"
            print(f"python -m tests.fuzz.expressions {again}\n{difference}\n", flush=True)
    print(f"{count} cases, {failures} differences", flush=True)
    return 1 if failures else 0


def cases(only: int | None) -> Iterator[int]:
    if only is not None:
        yield only
        return
    number = 0
    while True:
        yield number
        number += 1


if __name__ == "__main__":
    sys.exit(main())
