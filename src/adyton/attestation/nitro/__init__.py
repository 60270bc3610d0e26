"""AWS Nitro: attestation documents, the COSE envelope around them, and the rules by which they are judged."""
