"""Fuzzers: random programs whose right answers come from elsewhere."""
