"""Short runs of the fuzzer of expressions: a fixed seed, and a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# In a process of its own, since its settings are.
COMMAND = [sys.executable, "-m", "tests.fuzz.expressions", "--seconds", "4"]


@pytest.mark.parametrize("arguments", [["--seed", "1"], []], ids=["fixed", "fresh"])
def test_no_difference(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " cases, 0 differences" in run.stdout
