"""Opening a task's session: what a task is, what each enclave finds, and the framework's form of it."""
