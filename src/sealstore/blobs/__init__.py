"""Payloads: immutable bytes under their SHA-256."""

from sealstore.blobs.contract import BlobStore, CommitOutcome, FileKind, StagedBlob, StoredFile
from sealstore.blobs.local import LocalBlobStore
from sealstore.blobs.memory import PayloadMemory, VerifiedPayload
from sealstore.blobs.payload_hash import DigestName, PayloadHash

__all__ = [
    "BlobStore",
    "CommitOutcome",
    "DigestName",
    "FileKind",
    "LocalBlobStore",
    "PayloadHash",
    "PayloadMemory",
    "StagedBlob",
    "StoredFile",
    "VerifiedPayload",
]
