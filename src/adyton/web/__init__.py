"""Layer 0: how every service speaks HTTP: application shell, server process, client."""
