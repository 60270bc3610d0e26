"""Verbs about wallets."""
