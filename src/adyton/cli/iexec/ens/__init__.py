"""Verbs about names."""
