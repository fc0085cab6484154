"""
Random values through every door, on three engines, compared with numpy.

``python -m tests.fuzz.values --seconds 60 --seed 1`` makes values at random: by type, length and
special numbers. What numpy can round to finite float32 or float16 has to be stored and read bit for
bit, whichever way it comes; anything else has to be a ValidationError, and leave nothing behind.
Each case has a seed of its own, which a failure prints: ``--case`` runs it alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

DIMENSIONS = {"vector": 3, "halfvec": 3, "bit": 10, "sparsevec": 5}
ENGINES = {"default": "sqlite", "postgresql": "postgresql", "libsql": "libsql"}
CODES = {"dimensions", "nan", "infinite", "overflow", "not_a_number", "not_a_bit", "nested"}
CODES |= {"invalid", "elements"}

GREATEST, LEAST = float(np.finfo("f4").max), float(np.finfo("f4").smallest_subnormal)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.1, LEAST, -LEAST, LEAST / 2, 1e-50, GREATEST, -GREATEST]
SPECIAL += [3.4028235677973362e38, 3.4028235677973366e38, 1e39, 1e300, 65504.0, 65519.9, 65520.0]
SPECIAL += [6e-8, 2.98e-8, 2.0**24 + 1, float("nan"), float("inf"), float("-inf")]

Make = Callable[[list[float]], Any]


class Difference(AssertionError):  # noqa: N818
    """What a door does otherwise than numpy."""


def number(rng: random.Random, *, special: bool) -> float:
    if special and rng.random() < 0.3:
        return rng.choice(SPECIAL)
    return rng.choice([rng.gauss(0, 1), float(rng.randint(-9, 9)), rng.uniform(-6e4, 6e4)])


def of_type(code: str) -> Make:
    def make(numbers: list[float]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.array(numbers, code)

    return make


def _view(numbers: list[float]) -> np.ndarray:
    return np.array([*numbers, *numbers], "f8")[: len(numbers)][::1]


def _big_endian(numbers: list[float]) -> memoryview:
    return of_type(">f4")(numbers).data


def _text(numbers: list[float]) -> str:
    return f" [{', '.join(map(repr, numbers))}] "


def _fractions(numbers: list[float]) -> list[Any]:
    return [Fraction(each) if np.isfinite(each) else each for each in numbers]


def _vector(numbers: list[float]) -> Any:
    from pgvector import Vector

    with np.errstate(all="ignore"):
        return Vector(numbers)


# Whether a form rounds to float32, or float16, before the field sees it, and what makes it.
FORMS: dict[str, tuple[str, Make]] = {
    "list": ("f8", list),
    "tuple": ("f8", tuple),
    "array d": ("f8", lambda numbers: array("d", numbers)),
    "array f": ("f4", lambda numbers: array("f", numbers)),
    "f2": ("f2", of_type("f2")),
    "f4": ("f4", of_type("f4")),
    "f8": ("f8", of_type("f8")),
    ">f8": ("f8", of_type(">f8")),
    "longdouble": ("f8", of_type("g")),
    "a view": ("f8", _view),
    "memoryview": ("f4", _big_endian),
    "bytes": ("f4", lambda numbers: of_type("<f4")(numbers).tobytes()),
    "text": ("f8", _text),
    "Vector": ("f4", _vector),
    "iterable": ("f8", lambda numbers: dict(enumerate(numbers)).values()),
    "generator": ("f8", lambda numbers: (each for each in numbers)),
    "Decimals": ("f8", lambda numbers: list(map(Decimal, numbers))),
    "Fractions": ("f8", _fractions),
    "numpy's numbers": ("f8", lambda numbers: list(map(np.float64, numbers))),
}
BITS: dict[str, Make] = {
    "text": lambda bits: "".join("1" if bit else "0" for bit in bits),
    "list": list,
    "ints": lambda bits: tuple(map(int, bits)),
    "numpy": lambda bits: np.array(bits, bool),
    "u1": lambda bits: np.array(bits, "u1"),
    "generator": lambda bits: (bit for bit in bits),
}
# What no field takes.
NEVER: list[Callable[[], Any]] = [
    lambda: np.ma.array(np.ones(3), mask=[0, 1, 0]),
    lambda: np.ones((3, 1)),
    lambda: np.ones(3, "c16"),
    lambda: [[1, 2, 3]],
    lambda: ["1", 2, 3],
    lambda: [None, 1, 2],
    lambda: {1, 2, 3},
    lambda: range(10**12),
    lambda: [10**5000, 1, 1],
    lambda: "hello",
    lambda: 5,
    lambda: object(),
]


class Case:
    """A value, made anew for each door, and what numpy makes of it: None where it is refused."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.kind = rng.choice(list(DIMENSIONS))
        size = DIMENSIONS[self.kind]
        length = size if rng.random() < 0.8 else rng.randint(0, size + 2)
        self.wanted: bytes | None = None
        if rng.random() < 0.1:
            self.form, self.make = "never", rng.choice(NEVER)
        elif self.kind == "bit":
            bits = [rng.random() < 0.5 for _ in range(length)]
            # The text of no bits is that of NULL.
            self.form = rng.choice(list(BITS)) if bits else "list"
            self.make = lambda: BITS[self.form](bits)
            self.wanted = np.array(bits, "u1").tobytes() if length == size else None
        else:
            special = rng.random() < 0.5
            self._numbers([number(rng, special=special) for _ in range(length)], rng)

    def _numbers(self, numbers: list[float], rng: random.Random) -> None:
        self.form = rng.choice(list(FORMS))
        rounds, make = FORMS[self.form]
        if self.form == "Fractions":  # which have one zero
            numbers = [each + 0.0 for each in numbers]
        self.make = lambda: make(numbers)
        with np.errstate(all="ignore"):
            given = np.array(numbers, "f8").astype(rounds).astype("f4")
            stored = given.astype("f2") if self.kind == "halfvec" else given
        if len(numbers) == DIMENSIONS[self.kind] and np.isfinite(stored).all():
            stored = stored.astype("<f4")
            if self.kind == "sparsevec":  # what is zero, of either sign, is not there
                stored = stored + np.float32(0)
            self.wanted = stored.tobytes()

    def read(self, value: Any) -> bytes:
        """The bytes of what a door gave back."""
        if self.kind == "bit":
            return bytes(map(int, value))
        if self.kind == "sparsevec":
            value = value.to_list()
        return np.array(value, "<f4").tobytes()


def doors(case: Case, alias: str) -> dict[str, Callable[[], Any]]:
    """What stores or cleans the value; each gives back what is there afterwards."""
    from django.db import transaction

    from dorm_vector import bulk_copy
    from dorm_vector.forms import VectorField
    from tests.testapp import models

    by_kind = {"vector": "Full", "halfvec": "Half", "bit": "Bits", "sparsevec": "Sparse"}
    model = getattr(models, by_kind[case.kind])
    rows, field = model.objects.using(alias), model._meta.get_field("a")

    def stored(write: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with transaction.atomic(alias):
                write()
                found = rows.values_list("a", flat=True).get()
                transaction.set_rollback(True, alias)
            return found

        return run

    def filtered() -> None:
        rows.create(a=case.make())
        rows.filter(a=case.make()).get()

    def updated() -> None:
        rows.create(a=None)
        rows.update(a=case.make())

    def bulk_updated() -> None:
        row = rows.create(a=None)
        row.a = case.make()
        rows.bulk_update([row], ["a"])

    def searched() -> None:
        from dorm_vector import nearest

        rows.create(a=case.make())
        metric = "hamming" if case.kind == "bit" else "l2"
        list(nearest(rows, "a", case.make(), metric=metric, k=1))

    form = VectorField(dimensions=DIMENSIONS[case.kind], kind=case.kind)
    return {
        "to_python": lambda: field.to_python(case.make()),
        "form": lambda: form.clean(case.make()),
        "save": stored(lambda: rows.create(a=case.make())),
        "update": stored(updated),
        "bulk_create": stored(lambda: rows.bulk_create([model(a=case.make())])),
        "bulk_update": stored(bulk_updated),
        "bulk_copy": stored(lambda: bulk_copy(rows, [model(a=case.make())])),
        "lookup": stored(filtered),
        "query vector": stored(searched),
    }


def run_case(seed: int) -> None:
    case = Case(seed)
    aliases: Iterable[str] = ENGINES if case.kind != "sparsevec" else ["postgresql"]
    for alias in aliases:
        for name, door in doors(case, alias).items():
            found = outcome(case, door)
            if found != case.wanted:
                raise Difference(
                    f"--case {seed}: {case.form} of {case.kind} by {name} on {ENGINES[alias]}: "
                    f"{case.make()!r:.200} gave {found!r}, and numpy {case.wanted!r}."
                )
        raw(case, seed, alias)


def outcome(case: Case, door: Callable[[], Any]) -> Any:
    """The bytes, None for a ValidationError with a code, or any other error."""
    from django.core.exceptions import ValidationError

    try:
        return case.read(door())
    except ValidationError as error:
        return None if error.code in CODES else error
    except Exception as error:  # what is to be found
        return f"{type(error).__name__}: {error}"


def raw(case: Case, seed: int, alias: str) -> None:
    """Bytes of another length, which the database itself has to refuse."""
    from django.db import DatabaseError, connections, transaction

    if case.kind == "sparsevec" or alias == "postgresql":
        return  # whose types know
    rng = random.Random(seed)
    table = {"vector": "full", "halfvec": "half", "bit": "bits"}[case.kind]
    right = {"vector": {12}, "halfvec": {12, 7}, "bit": {2}}[case.kind]
    data = rng.randbytes(rng.choice([size for size in range(40) if size not in right]))
    try:
        with transaction.atomic(alias), connections[alias].cursor() as cursor:
            sql = f'INSERT INTO testapp_{table} (a, "group") VALUES (%s, 0)'
            cursor.execute(sql, [data])
    except DatabaseError:
        return
    raise Difference(f"--case {seed}: {ENGINES[alias]} stores {data!r} as {case.kind}.")


def run(seconds: float, seed: int, cases: int | None = None) -> int:
    """Cases from ``seed`` on, for so long or so many; how many they were. Raises Difference."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end and count != cases:
        run_case(seed * 1_000_000 + count)
        count += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--case", type=int, help="the one case of this seed")
    options = parser.parse_args()
    from tests.support import postgres

    with postgres.server():
        import os

        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        import django
        from django.test.runner import DiscoverRunner

        django.setup()
        runner = DiscoverRunner(verbosity=0, interactive=False)
        databases = runner.setup_databases(serialized_aliases=[])
        try:
            return report(options)
        finally:
            runner.teardown_databases(databases)


def report(options: argparse.Namespace) -> int:
    try:
        if options.case is not None:
            run_case(options.case)
            return 0
        count = run(options.seconds, options.seed)
    except Difference as difference:
        print(f"python -m tests.fuzz.values {difference}")
        return 1
    print(f"{count} cases from seed {options.seed} on, and no difference.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
