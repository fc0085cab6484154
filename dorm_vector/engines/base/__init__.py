"""The contract of an engine."""

from __future__ import annotations

from dorm_vector.engines.base.engine import Engine
from dorm_vector.sql import SQL, Operand, fill

__all__ = ["SQL", "Engine", "Operand", "fill"]
