"""Short runs of the fuzzer of searches: seeds that found something once, and a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# In a process of its own, since its models and settings are.
COMMAND = [sys.executable, "-m", "tests.fuzz.search", "--seconds"]


# A block had all rows, and those that the one before it had missed were left out: 17 of 36 rows.
SHORT = ["4", "--seed", "851308", "--replay", "338.82"]


@pytest.mark.parametrize("arguments", [["4", "--seed", "5"], ["4", "--seed", "6"], SHORT, ["5"]])
def test_no_difference(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
