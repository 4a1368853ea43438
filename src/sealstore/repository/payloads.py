"""Payloads that are verified, or handed out as they are: nothing of them is interpreted."""

from __future__ import annotations

from sealstore.names import ArtifactRef
from sealstore.repository.artifact import Artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.loading import read_payload
from sealstore.repository.proving import find
from sealstore.repository.recorded_access import Access


def verify_payload(parts: Parts, ref: ArtifactRef, access: Access) -> Artifact:
    """An artifact whose payload has both its digests. See ``Repository.verify``."""
    found = find(parts, ref)
    access.found(found.verified)
    artifact = found.artifact
    parts.blobs.check(artifact.digests, artifact.size)
    access.granted(found.verified)
    return artifact


def export_payload(parts: Parts, ref: ArtifactRef, access: Access) -> tuple[Artifact, memoryview]:
    """An artifact and its verified payload. See ``Repository.read_payload``."""
    found = find(parts, ref)
    access.found(found.verified)
    payload = read_payload(parts, found.verified.statement)
    access.granted(found.verified)
    return found.artifact, payload.view
