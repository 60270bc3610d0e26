"""Verbs about requester secrets."""
