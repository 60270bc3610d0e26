"""Layer 1: the chain as this project uses it: JSON-RPC, wallets, orders, PoCo contracts, ENS, and their deployment.

Nothing is imported here: a reader of one module pays for that module only.
"""
