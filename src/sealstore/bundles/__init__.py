"""Bundles: artifacts in one file, with everything that proves them, to be verified offline.

The format, how a file is written and read, and the verification, which does no I/O.
"""

from sealstore.bundles.format import (
    ArtifactEvidence,
    Evidence,
    SinceEvidence,
    sealed_index,
)
from sealstore.bundles.hints import encode_hints, read_hints
from sealstore.bundles.reading import BundleFile, is_bundle, open_bundle
from sealstore.bundles.verification import (
    Continuity,
    VerifiedArtifact,
    VerifiedBundle,
    never_seen,
    open_evidence,
    require_nothing_else,
    verify_artifact,
    verify_evidence,
)
from sealstore.bundles.writing import write_bundle

__all__ = [
    "ArtifactEvidence",
    "BundleFile",
    "Continuity",
    "Evidence",
    "SinceEvidence",
    "VerifiedArtifact",
    "VerifiedBundle",
    "encode_hints",
    "is_bundle",
    "never_seen",
    "open_bundle",
    "open_evidence",
    "read_hints",
    "require_nothing_else",
    "sealed_index",
    "verify_artifact",
    "verify_evidence",
    "write_bundle",
]
