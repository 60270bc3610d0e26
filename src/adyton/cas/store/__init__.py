"""What the CAS keeps: sealed master key, encrypted rows, one writer, head file, audit log."""
