"""Verbs about storage tokens."""
