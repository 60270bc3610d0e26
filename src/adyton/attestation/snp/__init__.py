"""AMD SEV-SNP: attestation reports, the certificates behind them, and the rules by which they are judged."""
