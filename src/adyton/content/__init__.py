"""Layer 1: content by its hash: OCI images, and files as IPFS names and stores them."""
