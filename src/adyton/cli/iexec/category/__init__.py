"""Verbs about categories."""
