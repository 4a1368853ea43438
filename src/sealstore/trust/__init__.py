"""The trust state: what this client remembers of each repository, outside of the repository.

Signatures show that a head is genuine, not that it is the newest, nor that this repository is the
one that was here before. Only memory shows that: for each location, the newest head that was seen.
"""

from sealstore.trust.freshness import require_fresh
from sealstore.trust.record import TrustRecord, decode_record, encode_record
from sealstore.trust.store import (
    FirstUse,
    KnownLocation,
    TrustStore,
    default_trust_folder,
    folder_location,
    known_locations,
)

__all__ = [
    "FirstUse",
    "KnownLocation",
    "TrustRecord",
    "TrustStore",
    "decode_record",
    "default_trust_folder",
    "encode_record",
    "folder_location",
    "known_locations",
    "require_fresh",
]
