"""Collateral: the vendor's documents, fetched, kept fresh, and carried to hosts without a network."""
