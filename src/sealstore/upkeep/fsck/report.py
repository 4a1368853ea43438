"""What a check of the whole repository found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from sealstore.audit.findings import Finding
from sealstore.errors import SealstoreError

_MEGABYTE: Final = 1_000_000
MAX_SHOWN: Final = 1_000
"""Findings of one section that are told one by one; others are counted."""

_HINT: Final = "find out what happened to it, then restore it from a backup."

MIRROR: Final = "MIRROR"
FOREIGN_FILE: Final = "FOREIGN_FILE"
PERMISSIONS: Final = "PERMISSIONS"
SETTINGS_FILE: Final = "SETTINGS_FILE"
UNKNOWN_STATEMENT: Final = "UNKNOWN_STATEMENT"


class Section(StrEnum):
    """What is checked, in this order."""

    HEAD = "head"
    HISTORY = "history"
    ALIASES = "aliases"
    CATALOGUE = "catalogue"
    PAYLOADS = "payloads"
    MIRROR = "mirror"
    FILES = "files"
    ACCESS = "access"


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know that is no damage.

    Attributes:
        section: where it was seen.
        text: what was seen.
        hint: what can be done.
        paths: of the first files concerned, relative to the repository.
    """

    section: Section
    text: str
    hint: str
    paths: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "section": self.section.value,
            "text": self.text,
            "toDo": self.hint,
            "paths": list(self.paths),
        }


@dataclass(slots=True)
class FsckReport:
    """What was looked at, what is wrong, and what is worth knowing.

    Attributes:
        repository: its id; None where no head could be verified.
        entries, map_records: of the ledger, proven.
        artifacts: rows of the catalogue that were looked at.
        payloads: distinct payloads that were looked for.
        hashed_bytes: bytes that went through both digests.
        hashing_seconds: how long that took, by the wall clock.
        files: files and folders that were looked at.
        access_entries: of the access log; None where there is none.
        findings: everything that is wrong, by section; empty when all is well.
        notes: see ``Note``.
    """

    repository: str | None = None
    entries: int = 0
    map_records: int = 0
    artifacts: int = 0
    payloads: int = 0
    hashed_bytes: int = 0
    hashing_seconds: float = 0.0
    files: int = 0
    access_entries: int | None = None
    findings: list[tuple[Section, Finding]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    _counts: Counter[Section] = field(default_factory=Counter)
    _codes: Counter[tuple[Section, str]] = field(default_factory=Counter)

    def add(self, section: Section, finding: Finding) -> None:
        """Take note of something that is wrong."""
        self._counts[section] += 1
        self._codes[section, finding.code] += 1
        if self._counts[section] <= MAX_SHOWN:
            self.findings.append((section, finding))

    def add_error(
        self, section: Section, error: SealstoreError, artifact: str | None = None
    ) -> None:
        """Take note of a refusal."""
        finding = Finding.of(error, artifact)
        self.add(section, finding if finding.hint else replace(finding, hint=_HINT))

    def count(self, section: Section, further: int) -> None:
        """Count findings that are not told one by one."""
        self._counts[section] += further
        self._codes[section, ""] += further

    @property
    def findings_in_all(self) -> int:
        """How many findings there are, told one by one or not."""
        return self._counts.total()

    def but_for(self, exempt: Callable[[Section, str], bool]) -> tuple[int, Finding | None]:
        """How many findings there are but for some, and the first of these that is told.

        Args:
            exempt: says of a section and a finding's code whether it does not count.
        """
        count = sum(n for key, n in self._codes.items() if not exempt(*key))
        told = (finding for section, finding in self.findings if not exempt(section, finding.code))
        return count, next(told, None)

    @property
    def megabytes_per_second(self) -> float:
        """Throughput of hashing, in 10⁶ bytes a second; 0 where nothing was hashed."""
        if not self.hashing_seconds:
            return 0.0
        return self.hashed_bytes / _MEGABYTE / self.hashing_seconds

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "ok": not self.findings,
            "repository": self.repository,
            "historyEntries": self.entries,
            "mapRecords": self.map_records,
            "artifacts": self.artifacts,
            "payloads": self.payloads,
            "hashedBytes": self.hashed_bytes,
            "hashingSeconds": round(self.hashing_seconds, 6),
            "megabytesPerSecond": round(self.megabytes_per_second, 1),
            "files": self.files,
            "accessEntries": self.access_entries,
            "findings": [
                {"section": section.value, **finding.to_json()}
                for section, finding in self.findings
            ],
            "findingsInAll": self.findings_in_all,
            "notes": [note.to_json() for note in self.notes],
        }
