"""Layer 5: a workerpool: the scheduler that follows deals and workers, and the workers that compute.

Facts of the protocol: tasks and replicates are the official state machines; the wire between scheduler and worker
keeps the official names, with long-polls in place of a message broker.
"""
