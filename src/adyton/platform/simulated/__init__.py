"""The simulated SGX platform: real formats under a root whose name says Simulated. It protects nothing from root."""
