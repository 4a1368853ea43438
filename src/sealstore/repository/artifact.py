"""What is handed out about an artifact: a verified statement with names for its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sealstore.ledger.entries import EntryArtifact
from sealstore.names import ArtifactRef
from sealstore.signed.envelope import VerifiedStatement
from sealstore.signed.statement import Digests, Import, StoredBy


@dataclass(frozen=True, slots=True)
class Artifact:
    """One stored object, as its verified statement describes it.

    Attributes:
        verified: the verified statement.
    """

    verified: VerifiedStatement

    @property
    def ref(self) -> ArtifactRef:
        """Name, tag and revision."""
        return self.verified.statement.ref

    @property
    def name(self) -> str:
        """The name."""
        return self.verified.statement.predicate.name

    @property
    def tag(self) -> str:
        """The tag."""
        return self.verified.statement.predicate.tag

    @property
    def revision(self) -> int:
        """The revision of (name, tag), counted from 1."""
        return self.verified.statement.predicate.revision

    @property
    def sequence(self) -> int:
        """The place of the store in the repository's history."""
        return self.verified.statement.predicate.sequence

    @property
    def created(self) -> str:
        """When it was stored, UTC, by the storer's clock."""
        return self.verified.statement.predicate.created

    @property
    def stored_by(self) -> StoredBy:
        """Who stored it, as the holder of the key claims."""
        return self.verified.statement.predicate.stored_by

    @property
    def format(self) -> str:
        """The payload's format."""
        return self.verified.statement.predicate.format

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return self.verified.statement.predicate.size

    @property
    def digests(self) -> Digests:
        """SHA-256 and BLAKE3 of the payload."""
        return self.verified.statement.digests

    @property
    def python(self) -> str:
        """Version of the interpreter that stored it."""
        return self.verified.statement.predicate.python

    @property
    def packages(self) -> Mapping[str, str]:
        """Versions of the distributions that its imports came from."""
        return self.verified.statement.predicate.packages

    @property
    def imports(self) -> tuple[Import, ...]:
        """What loading it imports."""
        return self.verified.statement.predicate.imports

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The user's metadata."""
        return self.verified.statement.predicate.metadata

    @property
    def key_id(self) -> str:
        """Id of the key that signed it."""
        return self.verified.key_id

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, under the statement's own field names."""
        described: dict[str, Any] = {
            "name": self.name,
            "tag": self.tag,
            "revision": self.revision,
            "sha256": self.digests.sha256,
            "blake3": self.digests.blake3,
            "keyId": self.key_id,
            "statementSha256": self.verified.digest,
        }
        predicate: dict[str, Any] = msgspec.to_builtins(self.verified.statement.predicate)
        return described | predicate


def entry_artifact(verified: VerifiedStatement) -> EntryArtifact:
    """The artifact that an entry is about."""
    statement = verified.statement
    return EntryArtifact(
        name=statement.predicate.name,
        tag=statement.predicate.tag,
        revision=statement.predicate.revision,
        sha256=statement.digests.sha256,
        statement=verified.digest,
        key_id=verified.key_id,
    )
