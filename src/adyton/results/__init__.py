"""Layer 4: where results, datasets and images are kept: result proxy, IPFS node and gateway, image registry."""
