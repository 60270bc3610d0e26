"""The official HTTP surface and what stands before it: routes, bodies, limits, documents."""
