"""What a rebuild recovers, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sealstore.audit.findings import Finding
from sealstore.ledger import HistoryCheckpoint


@dataclass(slots=True)
class RebuildReport:
    """What can be recovered, or was.

    Attributes:
        repository: its id.
        written: whether the new catalogue is in its place.
        last_known: the newest state of the repository that anything here remembers; None if
            nothing does.
        epoch: of the new history.
        proven_entries: how many entries of the old history are proven, and stay as they are.
        entries: of the new history.
        recovered: the artifacts that are there afterwards.
        removed: the artifacts that were removed, and stay so.
        lost: what cannot be recovered.
        notes: what cannot be known, and what was made of it.
        settings_version: of the settings that were found.
    """

    repository: str
    epoch: int
    settings_version: int
    last_known: HistoryCheckpoint | None
    written: bool = False
    proven_entries: int = 0
    entries: int = 0
    recovered: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    lost: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lose(self, ref: str | None, code: str, text: str, hint: str) -> None:
        """Note that something is not recovered, and why."""
        self.lost.append(Finding(ref, code, text, hint))

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        last = self.last_known
        return {
            "repository": self.repository,
            "written": self.written,
            "epoch": self.epoch,
            "settingsVersion": self.settings_version,
            "lastKnown": None
            if last is None
            else {"epoch": last.epoch, "size": last.size, "root": last.root, "time": last.time},
            "provenEntries": self.proven_entries,
            "entries": self.entries,
            "recovered": self.recovered,
            "removed": self.removed,
            "lost": [finding.to_json() for finding in self.lost],
            "notes": self.notes,
        }
