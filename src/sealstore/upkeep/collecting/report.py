"""What garbage there is, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sealstore.audit.findings import Finding
from sealstore.names import ArtifactRef
from sealstore.storage.blobs import StoredFile
from sealstore.storage.blobs.folder_walk import FoundFile


class Garbage(StrEnum):
    """What a file is that is removed."""

    PAYLOAD = "payload"
    """A payload that nothing needs."""
    STAGING = "staging"
    """A file of a store that did not end."""
    SET_ASIDE = "set aside"
    """A file that lay in the place of another one, with other bytes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that can be removed.

    Attributes:
        kind: what it is.
        path: relative to the repository.
        size: in bytes.
        since: since when nothing needs it and nobody touched it, seconds of the epoch.
        file: among the payloads; None for a file among the mirrored statements.
        found: as it was found.
    """

    kind: Garbage
    path: str
    size: int
    since: float
    file: StoredFile | None
    found: FoundFile

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {"kind": self.kind.value, "path": self.path, "size": self.size}


@dataclass(slots=True)
class GcReport:
    """What can be removed, and what was.

    Attributes:
        deleting: whether files were to be removed.
        candidates: the files that can be, or could be, removed.
        removed: those that were; a store may have come to need others meanwhile.
        young: files that nothing needs, but whose grace is not over.
        put_away: mirrored statements of removed artifacts that were given a name that says so.
        findings: what is wrong; nothing was removed then.
        unneeded_mirrors: such statements, as far as they were not.
        mirrored: mirrored statements that were missing, and were written.
        missing_mirrors: of which artifacts they are missing: a store was killed after its commit.
    """

    deleting: bool
    candidates: list[Candidate] = field(default_factory=list)
    removed: list[Candidate] = field(default_factory=list)
    young: list[Candidate] = field(default_factory=list)
    put_away: int = 0
    findings: list[Finding] = field(default_factory=list)
    unneeded_mirrors: list[ArtifactRef] = field(default_factory=list)
    mirrored: int = 0
    missing_mirrors: list[ArtifactRef] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "ok": not self.findings,
            "deleting": self.deleting,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "candidateBytes": bytes_of(self.candidates),
            "removed": len(self.removed),
            "removedBytes": bytes_of(self.removed),
            "young": len(self.young),
            "youngBytes": bytes_of(self.young),
            "putAway": self.put_away,
            "missingMirrors": len(self.missing_mirrors),
            "mirrored": self.mirrored,
            "findings": [finding.to_json() for finding in self.findings],
        }


def bytes_of(candidates: list[Candidate]) -> int:
    """Bytes of files together."""
    return sum(candidate.size for candidate in candidates)
