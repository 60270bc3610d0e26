"""Verbs about encrypted results."""
