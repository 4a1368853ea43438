"""What the history leaves: the artifacts that are stored, and those that were."""

from __future__ import annotations

from contextlib import suppress

from sealstore.errors import LedgerFormatError
from sealstore.ledger.entries import EntryArtifact, HistoryEntry
from sealstore.repository.origins import Origin, origin_of


class Contents:
    """The artifacts, entry by entry of a history that is proven, or will be before this is used.

    Attributes:
        stored: what is there, by the sequence of its store.
        removed: what was there once, by the sequence of its store.
        left_at: for each payload that an artifact left, when the last one did, UTC.
        origins: where those that were imported come from, by the sequence of their store.
        has_aliases: whether an alias was ever moved.
    """

    def __init__(self) -> None:
        self.stored: dict[int, EntryArtifact] = {}
        self.removed: dict[int, EntryArtifact] = {}
        self.left_at: dict[str, str] = {}
        self.origins: dict[int, Origin] = {}
        self.has_aliases = False
        self._sequences: dict[tuple[str, str, int], int] = {}

    def hear(self, entry: HistoryEntry) -> None:
        """Take note of the next entry. Whether it can follow the others is not asked here."""
        artifact = entry.artifact
        if entry.event == "alias":
            self.has_aliases = True
        elif artifact is not None and entry.event == "store":
            self.stored[entry.sequence] = artifact
            self._sequences[_key(artifact)] = entry.sequence
            with suppress(LedgerFormatError):
                # One that is none is told where it is asked for: by 'sealstore show'.
                origin = origin_of(entry)
                if origin is not None:
                    self.origins[entry.sequence] = origin
        elif artifact is not None and entry.event == "remove":
            sequence = self._sequences.get(_key(artifact), 0)
            gone = self.stored.pop(sequence, None)
            if gone is not None:
                self.removed[sequence] = gone
                # Clocks differ: the latest time is the one that keeps a payload the longest.
                self.left_at[gone.sha256] = max(entry.at, self.left_at.get(gone.sha256, ""))

    def find(self, name: str, tag: str, revision: int) -> tuple[int, EntryArtifact] | None:
        """The place in the history, and the artifact, of what is stored as this revision."""
        sequence = self._sequences.get((name, tag, revision), 0)
        found = self.stored.get(sequence)
        return None if found is None else (sequence, found)

    def find_removed(self, name: str, tag: str, revision: int) -> EntryArtifact | None:
        """The artifact that was this revision, if it was removed."""
        return self.removed.get(self._sequences.get((name, tag, revision), 0))

    def payloads(self) -> set[str]:
        """SHA-256 of every payload that a stored artifact needs."""
        return {artifact.sha256 for artifact in self.stored.values()}


def _key(artifact: EntryArtifact) -> tuple[str, str, int]:
    return artifact.name, artifact.tag, artifact.revision


def shown(artifact: EntryArtifact) -> str:
    """An artifact for people, as ``name:tag@revision``."""
    return f"{artifact.name}:{artifact.tag}@{artifact.revision}"
