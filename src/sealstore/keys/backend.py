"""What computes the signatures, for people who look for the reason of something."""

from __future__ import annotations


def openssl_version() -> str:
    """The version of the OpenSSL that ``cryptography`` brings or was built with."""
    from cryptography.hazmat.backends.openssl import backend

    return backend.openssl_version_text()
