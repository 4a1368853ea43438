"""What is signed: an artifact's statement, its envelope, approvals, a repository's settings."""
