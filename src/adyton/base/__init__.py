"""Layer 0: what every room stands on. Imports nothing of Adyton and no web or database library at import."""
