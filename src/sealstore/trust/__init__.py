"""The trust state: what this client remembers of each repository, outside of the repository.

Signatures show that a head is genuine, not that it is the newest, nor that this repository is the
one that was here before. Only memory shows that: for each location, the newest head that was seen.
"""
