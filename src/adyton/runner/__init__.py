"""Layer 1: running an untrusted root file system under one hardening profile, whatever tool does the confining."""
