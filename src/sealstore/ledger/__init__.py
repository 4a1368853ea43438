"""The ledger: what makes a repository's answers provable, and its acts demonstrable afterwards.

All of it computes over bytes that it is given; nothing here reads a file or a database.
"""
