"""Verbs that only workerpools have."""
