"""``embed()``: vectors for the rows without one."""

from __future__ import annotations

from dorm_vector.embeddings.run import EmbedReport, embed

__all__ = ["EmbedReport", "embed"]
