"""Layer 4: the order book."""
