"""Layer 6: a whole network on this machine in one command, and the demonstration that plays its users."""
