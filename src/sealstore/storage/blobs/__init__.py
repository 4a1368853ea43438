"""Payloads: immutable bytes under their SHA-256."""
