"""Verbs about the marketplace's offers."""
