"""Layer 5: the programs of the pre-compute and post-compute enclaves, and the formats of datasets and results.

``python -m adyton.compute.pre`` and ``python -m adyton.compute.post`` run inside measured enclaves and are configured
only by the environment that the CAS releases to them. ``digest``, ``encryption`` and ``computed`` are pure and are
also what a requester's own machine uses.
"""
