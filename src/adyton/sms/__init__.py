"""Layer 4: the secret management service: keeps owners' secrets and opens one enclave session per bought task."""
