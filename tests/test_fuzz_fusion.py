"""Short runs of the fuzzer of fusions: a known seed, and a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# In a process of its own, since its models and settings are.
COMMAND = [sys.executable, "-m", "tests.fuzz.fusion", "--seconds"]


@pytest.mark.parametrize("arguments", [["4", "--seed", "1"], ["4"]])
def test_no_difference(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
