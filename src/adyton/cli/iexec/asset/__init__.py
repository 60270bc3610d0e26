"""Verbs that apps, datasets and workerpools share."""
