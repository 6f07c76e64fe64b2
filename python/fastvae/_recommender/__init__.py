"""Recommendation: clicks of users, rankings of items, their measures."""
