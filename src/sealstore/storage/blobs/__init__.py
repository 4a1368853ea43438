"""Payloads: immutable bytes under their SHA-256."""

from sealstore.storage.blobs.contract import (
    BlobStore,
    CommitOutcome,
    FileKind,
    StagedBlob,
    StoredFile,
)
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.memory import PayloadMemory, VerifiedPayload
from sealstore.storage.blobs.payload_hash import DigestName, PayloadHash

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
