"""Judging Intel's quotes: PCK certificate, TCB, quoting enclave, program, second opinion; pure but for the verifier."""
