"""Formats: how an object becomes a payload, and a verified payload an object; and policies.

Nothing is imported here: the process that inspects foreign bytes has the standard library alone.
"""
