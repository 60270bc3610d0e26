"""Calling a CAS: owners, enclaves, operators and other services."""
