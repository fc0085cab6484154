"""Searching: nearest(), its settings, and advice on indexes."""
