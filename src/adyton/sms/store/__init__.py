"""The database: rows bound to their place, group commits, the marker, and the exchange of keys."""
