"""RA-TLS: evidence inside TLS certificates, and the handshake in which both ends prove themselves."""
