"""For the auditor: what the ledger says, verified, kept, proven and reported."""
