"""For who holds the keys: keys, policies, approvals, adoption, a new repository."""
