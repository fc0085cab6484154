"""
Vectors whose squares leave the range of float32, in the side tables of sqlite-vec.

They are as far from others by the cosine as any vector that has their direction, so a side table
holds such a one.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["GREATEST", "HAS_DIRECTION", "LEAST", "LENGTH", "ORDINARY", "in_range"]

# sqlite-vec's functions sum squares in float32. Within these lengths they neither under- nor
# overflow.
LEAST, GREATEST = "1e-17", "1e18"
LENGTH = "vec_distance_l2({a}, zeroblob(length({a})))"
ORDINARY = f"{LENGTH} BETWEEN {LEAST} AND {GREATEST}"
# The sum of all components, without their signs: in float64, and of no squares.
SUM = "vec_distance_l1({a}, zeroblob(length({a})))"
#: The condition that a vector is finite, and not zero.
HAS_DIRECTION = f"{SUM} BETWEEN 1e-46 AND 1e44"
# sqlite-vec does not multiply vectors, but has their components as rows.
TIMES = "(SELECT vec_f32(json_group_array(value * {factor})) FROM vec_each({a}))"
SHORTER, LONGER = "1e-30", "1e35"


def in_range(vector: str, value: Callable[[str], str]) -> str:
    """The SQL of the ``value`` of a vector, or of one of its direction if it is extreme."""
    template = (
        f"CASE WHEN {ORDINARY} THEN {{plain}} "
        f"WHEN {SUM} BETWEEN {GREATEST} AND 1e44 THEN {{shorter}} "
        f"WHEN {SUM} BETWEEN 1e-46 AND 1 THEN {{longer}} ELSE {{plain}} END"
    ).replace("{a}", vector)
    times = TIMES.replace("{a}", vector)
    made = {
        "plain": vector,
        "shorter": times.replace("{factor}", SHORTER),
        "longer": times.replace("{factor}", LONGER),
    }
    for name, sql in made.items():
        template = template.replace(f"{{{name}}}", value(sql))
    return template
