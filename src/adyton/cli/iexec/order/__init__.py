"""Verbs about orders."""
