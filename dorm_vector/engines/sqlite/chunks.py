"""
How many rows a chunk of sqlite-vec's tables has.

sqlite-vec keeps the vectors of a chunk in one BLOB, which SQLite spreads over a list of pages. A
row is written by going through the list up to its place. Where the chunk does not fit into the page
cache, 2 MB by default, each row reads the chunk from the file: inserting a vector of 1,024 float32
took 120 microseconds, and takes 16.
"""

from __future__ import annotations

from dorm_vector.sql import literal

__all__ = ["chunk_option"]

# As many as sqlite-vec has by itself, and the fewest that it takes.
ROWS, FEWEST = 1024, 8
# What a chunk has of vectors at most, in bytes. Searching smaller ones takes longer if more than a
# few hundred rows are wanted.
SIZE = 1 << 19


def chunk_option(width: int) -> str:
    """The option of a table whose vectors have ``width`` bytes; "" for sqlite-vec's own number."""
    rows = ROWS
    while rows > FEWEST and rows * width > SIZE:
        rows //= 2
    return f", chunk_size={literal(rows)}" if rows < ROWS else ""
