"""What a backup did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class BackupReport:
    """What a backup did.

    Attributes:
        folder: the backup.
        snapshot: the name of the snapshot in it.
        artifacts, payloads: what is in it.
        payload_bytes: the bytes of its payloads.
        linked, copied: how many payloads share their file with an earlier snapshot or with the
            repository, and how many have one of their own since this backup.
        mended: payloads (SHA-256) that were damaged in earlier snapshots, and are not any more.
        copied_bytes: the bytes of the latter.
        has_access_log: whether the access log is in it; it may be elsewhere.
        dropped: earlier snapshots that were removed.
    """

    folder: Path
    snapshot: str = ""
    artifacts: int = 0
    payloads: int = 0
    payload_bytes: int = 0
    linked: int = 0
    copied: int = 0
    copied_bytes: int = 0
    mended: list[str] = field(default_factory=list)
    has_access_log: bool = False
    dropped: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "folder": str(self.folder),
            "snapshot": self.snapshot,
            "artifacts": self.artifacts,
            "payloads": self.payloads,
            "payloadBytes": self.payload_bytes,
            "linked": self.linked,
            "copied": self.copied,
            "copiedBytes": self.copied_bytes,
            "mended": self.mended,
            "accessLog": self.has_access_log,
            "dropped": self.dropped,
        }
