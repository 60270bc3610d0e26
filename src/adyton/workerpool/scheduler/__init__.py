"""The scheduler of a workerpool: follows deals, gives out tasks, checks reports, ends tasks on chain."""
