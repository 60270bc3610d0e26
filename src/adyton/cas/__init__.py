"""Layer 4: the configuration and attestation service: sessions in, verified enclaves out with exactly their part."""
