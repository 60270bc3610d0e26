"""Layer 1: formats of attestation evidence and the judge of it; simulated and real evidence take the same path."""
