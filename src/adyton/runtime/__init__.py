"""Layer 4: the measured agent that starts first in every enclave, gets its configuration by attestation, and runs it.

Everything here is inside the enclave's measurement, and its start-up time is part of every task: only the standard
library, ``cryptography`` and light modules are imported.
"""
