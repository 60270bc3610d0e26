"""Verbs that only apps have."""
