"""Verbs about money in the hub."""
