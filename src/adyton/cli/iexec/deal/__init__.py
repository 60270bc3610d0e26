"""Verbs about deals."""
