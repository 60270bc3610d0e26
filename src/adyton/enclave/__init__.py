"""Layer 2: building and measuring enclaves.

An enclave image is a root file system plus a canonical manifest and a SIGSTRUCT. This room makes images, computes what
the CPU will measure, and checks a root file system against its manifest. It starts nothing and holds no secret but a
signer key while it signs.
"""
