"""What a check of the whole repository found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from sealstore.audit.findings import Finding
from sealstore.errors import SealstoreError
from sealstore.upkeep.verify import HashedPayloads

MAX_SHOWN: Final = 1_000
"""Findings of one section that are told one by one; others are counted."""
_MAX_PATHS: Final = 100

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


@dataclass(slots=True)
class Note:
    """Something to know that is no damage.

    Attributes:
        section: where it was seen.
        what: what was seen.
        hint: what can be done.
        count: of how many files; 0 where it is about none.
        size: their bytes, where somebody may want to know.
        paths: of the first of them, relative to the repository.
    """

    section: Section
    what: str
    hint: str
    count: int = 0
    size: int = 0
    paths: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """It for people."""
        if not self.count:
            return self.what
        size = f" ({self.size} bytes)" if self.size else ""
        return f"{self.count} {self.what}{size}, such as {self.paths[0]}"

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "section": self.section.value,
            "text": self.text,
            "toDo": self.hint,
            "paths": self.paths,
        }


@dataclass(slots=True)
class FsckReport(HashedPayloads):
    """What was looked at, what is wrong, and what is worth knowing.

    Attributes:
        repository: its id; None where no head could be verified.
        entries, map_records: of the ledger, proven.
        artifacts: rows of the catalogue that were looked at.
        files: files and folders that were looked at.
        access_entries: of the access log; None where there is none.
        findings: everything that is wrong, by section; empty when all is well.
        notes: see ``Note``.
    """

    repository: str | None = None
    entries: int = 0
    map_records: int = 0
    artifacts: int = 0
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

    @contextmanager
    def telling(self, section: Section) -> Iterator[None]:
        """Take note of a refusal that ends the block; what comes after it is checked all the same.

        Args:
            section: what the block checks.
        """
        try:
            yield
        except SealstoreError as error:
            self.add_error(section, error)

    def note(
        self, section: Section, what: str, hint: str, path: str | None = None, size: int = 0
    ) -> None:
        """Take note of something to know; of files, one at a time."""
        noted = (each for each in self.notes if (each.section, each.what) == (section, what))
        note = next(noted, None)
        if note is None:
            note = Note(section, what, hint)
            self.notes.append(note)
        if path is not None:
            note.count += 1
            note.size += size
            if note.count <= _MAX_PATHS:
                note.paths.append(path)

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

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "ok": not self.findings,
            "repository": self.repository,
            "historyEntries": self.entries,
            "mapRecords": self.map_records,
            "artifacts": self.artifacts,
            **self.hashing_json(),
            "files": self.files,
            "accessEntries": self.access_entries,
            "findings": [
                {"section": section.value, **finding.to_json()}
                for section, finding in self.findings
            ],
            "findingsInAll": self.findings_in_all,
            "notes": [note.to_json() for note in self.notes],
        }
