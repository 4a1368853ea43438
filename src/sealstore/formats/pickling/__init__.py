"""Pickle streams, fast and distrusted: reader, writer, inspection, policy."""
