"""Other Pythons, as processes."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.paths import ROOT

__all__ = ["run"]


def run(python: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run another Python, which borrows the pure packages of this one."""
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if "site-packages" in entry)])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [python, *args], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
