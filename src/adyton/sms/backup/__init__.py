"""Backups: rows as a stream, files of any size under encryption, archives, and the way back."""
