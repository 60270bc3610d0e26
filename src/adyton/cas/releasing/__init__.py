"""What a session lets out, to which enclave: evidence, activations, key material, successors."""
