"""Verbs that only datasets have."""
