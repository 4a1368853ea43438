"""Refusals as values, to be counted, shown and written as JSON: of artifacts, and of chains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

from sealstore.audit.chains import ChainName
from sealstore.errors import LedgerTamperedError, SealstoreError
from sealstore.storage.catalogue import ArtifactRow

# ── about an artifact ────────────────────────────────────────────────────────


_MAX_CLAIM_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, with which artifact, and what to do.

    Attributes:
        artifact: the artifact concerned, as its row claims; None where none can be named.
        code: the error's stable code.
        message: what is wrong.
        hint: what to do.
    """

    artifact: str | None
    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: SealstoreError, artifact: str | None = None) -> Self:
        """The finding that ``error`` is, about ``artifact`` unless the error names one."""
        hint = error.hint.replace("{path}", error.path or "")
        return cls(error.artifact or artifact, error.code, error.message, hint)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "artifact": self.artifact,
            "code": self.code,
            "message": self.message,
            "toDo": self.hint,
        }


def claimed_ref(row: ArtifactRow) -> str:
    """Which artifact a row claims to be: unverified, of any type and length in the database."""
    name, tag, revision = (
        str(claim)[:_MAX_CLAIM_CHARACTERS] for claim in (row.name, row.tag, row.revision)
    )
    return f"{name}:{tag}@{revision}"


# ── about a chain ────────────────────────────────────────────────────────────


MAX_SHOWN: Final = 100
"""Rows of one chain that are told one by one: who has read of a hundred knows what to do."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """Something that is wrong with a chain.

    Attributes:
        chain: which.
        sequence: of the first entry concerned, counted from 1; None where it is none in particular.
        code: the error's stable code.
        message: what is wrong.
        hint: what to do.
    """

    chain: ChainName
    sequence: int | None
    code: str
    message: str
    hint: str

    @classmethod
    def of(
        cls, error: SealstoreError, chain: ChainName, sequence: int | None = None
    ) -> AuditFinding:
        """The finding that ``error`` is."""
        hint = error.hint.replace("{path}", error.path or "")
        return cls(chain, sequence, error.code, error.message, hint)

    @property
    def finding(self) -> Finding:
        """It as other reports show theirs."""
        place = "" if self.sequence is None else f" {self.sequence}"
        return Finding(f"{self.chain}{place}", self.code, self.message, self.hint)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "chain": self.chain.value,
            "sequence": self.sequence,
            "code": self.code,
            "message": self.message,
            "toDo": self.hint,
        }


@dataclass(slots=True)
class Findings:
    """The findings of one chain.

    Attributes:
        chain: which.
        shown: those that are told one by one.
        count: of all.
    """

    chain: ChainName
    shown: list[AuditFinding] = field(default_factory=list)
    count: int = 0
    _rows: int = 0

    def __iter__(self) -> Iterator[AuditFinding]:
        return iter(self.shown)

    def __bool__(self) -> bool:
        return bool(self.count)

    def add(self, error: SealstoreError, sequence: int | None = None) -> None:
        """Take note of an error."""
        self.count += 1
        self.shown.append(AuditFinding.of(error, self.chain, sequence))

    def add_tampered(
        self, message: str, sequence: int | None = None, *, hint: str | None = None
    ) -> None:
        """Take note of something that was tampered with."""
        self.add(LedgerTamperedError(message, hint=hint), sequence)

    def add_row(self, error: SealstoreError, sequence: int) -> None:
        """Take note of what is wrong with one of many rows; beyond ``MAX_SHOWN``, count it only.

        So many edited rows cannot hide what else is wrong.
        """
        self._rows += 1
        if self._rows > MAX_SHOWN:
            self.count += 1
        else:
            self.add(error, sequence)

    def drop(self, sequence: int) -> None:
        """Forget what is said of an entry: something else says it better."""
        kept = [each for each in self.shown if each.sequence != sequence]
        self.count -= len(self.shown) - len(kept)
        self.shown = kept

    def sort(self) -> None:
        """Put them in the order of the chain."""
        self.shown.sort(key=lambda finding: finding.sequence or 0)
