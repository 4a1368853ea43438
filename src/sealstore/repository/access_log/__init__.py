"""The access log: what was loaded, verified, exported and inspected, or why it was refused."""
