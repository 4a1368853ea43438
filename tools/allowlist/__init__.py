"""Makes the policy's allowlist from real objects: fitted, dumped, inspected, written as data."""
