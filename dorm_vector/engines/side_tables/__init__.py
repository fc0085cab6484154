"""What engines share whose vector indexes are tables kept by triggers."""

from __future__ import annotations

from dorm_vector.engines.side_tables.engine import WATCHED, SideTableEngine

__all__ = ["WATCHED", "SideTableEngine"]
