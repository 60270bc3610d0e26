"""A worker of a pool: takes tasks, checks everything it is told, runs them confined, and answers on chain."""
