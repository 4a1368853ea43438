"""``Repository``, the flows behind it, and what they stand on."""
