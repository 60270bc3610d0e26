"""Layer 3: where evidence comes from: the platform as enclaves see it, sealing, and the simulated back end."""
