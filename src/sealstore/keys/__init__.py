"""Keys: what this process may sign and verify with."""
