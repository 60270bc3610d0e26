"""The chain as the service believes it: one hub, several nodes that must agree, and callers' names."""
