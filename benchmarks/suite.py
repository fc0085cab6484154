"""
All that is measured against the others, in one run of one process, in about ten minutes.

loading, reading, overhead, searching and growth, one after the other: they would slow each other
down; and last, which searches find the right entries. Within each, what is compared takes turns.
The tables and the plot of the documentation are written where --output says.

    pip install -e '.[bench]'
    python benchmarks/suite.py --output docs/performance
"""

from __future__ import annotations

import common
import growth
import hybrid_quality
import loading
import overhead
import reading
import searching

PARTS = (loading, reading, overhead, searching, growth, hybrid_quality)


def main() -> None:
    options = common.arguments(__doc__)
    with common.every_database() as databases:
        common.configure(**databases)
        for part in PARTS:
            file = options.output / f"{part.__name__}.txt"
            common.report(file, *part.run(databases, options))


if __name__ == "__main__":
    main()
