"""``{% load dorm_vector %}``: vectors in templates."""

from __future__ import annotations

from django import template

from dorm_vector.display import brief

__all__ = ["register"]

register = template.Library()
# {{ passage.embedding|vector }} is [0.01, -0.2, ... 384].
register.filter("vector", brief)
