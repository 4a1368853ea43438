"""A refusal as a value, to be counted, shown and written as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from sealstore.errors import SealstoreError
from sealstore.storage.catalogue import ArtifactRow

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
