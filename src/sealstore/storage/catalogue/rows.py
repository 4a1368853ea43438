"""Rows of the catalogue as values, and what a listing may ask for."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sealstore.signed.envelope import VerifiedStatement


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """One row of the table ``artifact``: unverified, whatever it says.

    Every column but the envelope repeats what the statement in the envelope says, to be searched.
    """

    sequence: int
    name: str
    tag: str
    revision: int
    created: str
    format: str
    size: int
    sha256: str
    actor: str
    user_metadata: str
    key_id: str
    statement_digest: str
    envelope: bytes

    @classmethod
    def of(cls, verified: VerifiedStatement, envelope: bytes) -> ArtifactRow:
        """The row that says what ``verified``, the statement in ``envelope``, says."""
        statement = verified.statement
        predicate = statement.predicate
        return cls(
            sequence=predicate.sequence,
            name=predicate.name,
            tag=predicate.tag,
            revision=predicate.revision,
            created=predicate.created,
            format=predicate.format,
            size=predicate.size,
            sha256=statement.digests.sha256,
            actor=predicate.stored_by.actor or predicate.stored_by.user,
            user_metadata=msgspec.json.encode(predicate.metadata).decode("utf-8"),
            key_id=verified.key_id,
            statement_digest=verified.digest,
            envelope=envelope,
        )

    def differences(self, expected: ArtifactRow) -> list[str]:
        """The columns in which this row is not ``expected``, types included."""
        return [
            column
            for column in self.__slots__
            if type(getattr(self, column)) is not type(getattr(expected, column))
            or getattr(self, column) != getattr(expected, column)
        ]


@dataclass(frozen=True, slots=True)
class LegacyHistoryRow:
    """One row of the table ``history`` of schema 0001, which nothing proves.

    Attributes:
        sequence: counted from 1.
        event: ``create``, ``store``, ``remove`` or ``resign``.
        at: UTC time by the clock of who did it.
        actor: who did it.
        name, tag, revision, sha256, statement_digest, key_id: of the artifact concerned.
    """

    sequence: int
    event: str
    at: str
    actor: str
    name: str | None = None
    tag: str | None = None
    revision: int | None = None
    sha256: str | None = None
    statement_digest: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which artifacts a listing shows; every condition given must hold.

    Attributes:
        name, tag, format, actor, key_id: equal to this.
        search: found in the name, the tag or the metadata, ignoring the case of ASCII letters.
        created_from, created_before: UTC times as statements write them, or their beginnings.
        newest_only: only the newest revision of each (name, tag).
    """

    name: str | None = None
    tag: str | None = None
    format: str | None = None
    actor: str | None = None
    key_id: str | None = None
    search: str | None = None
    created_from: str | None = None
    created_before: str | None = None
    newest_only: bool = False
