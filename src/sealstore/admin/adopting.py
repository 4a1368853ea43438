"""Adoption: existing joblib and pickle files are inspected, judged, and signed as they are.

They are never loaded. A file is copied once into sealed memory; a confined process inspects that
memory, and this one hashes, signs and stores that same memory, taking nothing from the other but
its report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sealstore.admin.inspecting import inspection_to_json
from sealstore.admin.payload_files import PayloadFile, payload_file
from sealstore.errors import SealstoreError
from sealstore.formats.pickling.inspection import Inspection, imports_to_sign
from sealstore.hetida.legacy_folder import LegacyFile
from sealstore.names import ArtifactRef
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress


class Outcome(StrEnum):
    """What became of a file."""

    SIGNABLE = "signable"
    """nothing speaks against it"""
    SIGNED = "signed"
    AMBIGUOUS = "ambiguous"
    """its name could be split in several ways, or in none: a mapping decides"""
    REFUSED = "refused"
    """by inspection or policy, or signing it failed"""
    SKIPPED = "skipped"
    """a link, a folder, or anything else that is no file of its own"""


@dataclass(frozen=True, slots=True)
class Adoption:
    """One file and what became of it.

    Attributes:
        file: the file.
        outcome: see ``Outcome``.
        reason: why, in words.
        inspection: what loading it would do; None where it was not looked into.
        stored: under what it was signed.
    """

    file: LegacyFile
    outcome: Outcome
    reason: str
    inspection: Inspection | None = None
    stored: ArtifactRef | None = None

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        inspection = self.inspection
        return {
            "file": self.file.path.name,
            "path": str(self.file.path),
            "outcome": self.outcome.value,
            "reason": self.reason,
            "candidates": [{"name": ref.name, "tag": ref.tag} for ref in self.file.candidates],
            "isLatest": self.file.is_latest,
            "stored": None if self.stored is None else str(self.stored),
            "inspection": None if inspection is None else inspection_to_json(inspection),
        }


def adopt(
    files: Sequence[LegacyFile],
    repository: Repository,
    *,
    sign: bool = False,
    allow_unconfined: bool = False,
    actor: str | None = None,
    progress: Progress = no_progress,
) -> list[Adoption]:
    """Inspect files, and store those that nothing speaks against.

    Args:
        files: from ``find_files``; adopted in this order.
        repository: where they are judged, and stored.
        sign: whether to store them; otherwise nothing is written.
        allow_unconfined: whether to sign what was inspected without seccomp and Landlock, where
            the kernel has neither.
        actor: who adopts, for the statements.
        progress: hears how many files are done.

    Returns:
        What became of each file.
    """
    adoptions = []
    for done, file in enumerate(files):
        progress("files", done, len(files))
        adoptions.append(
            _adopt_one(file, repository, sign=sign, unconfined=allow_unconfined, actor=actor)
        )
    progress("files", len(files), len(files))
    return adoptions


def _adopt_one(
    file: LegacyFile, repository: Repository, *, sign: bool, unconfined: bool, actor: str | None
) -> Adoption:
    if file.refusal is not None:
        return Adoption(file, Outcome.SKIPPED, file.refusal)
    inspection: Inspection | None = None
    try:
        with payload_file(file.path) as payload:
            inspection = payload.inspect()
            imports = imports_to_sign(inspection)
            repository.policies.check(imports)
            if len(file.candidates) != 1:
                return Adoption(file, Outcome.AMBIGUOUS, _how_ambiguous(file), inspection)
            if not sign:
                return Adoption(file, Outcome.SIGNABLE, "", inspection)
            if not (inspection.is_confined_by_kernel or unconfined):
                return Adoption(
                    file,
                    Outcome.REFUSED,
                    "this kernel has neither seccomp nor Landlock to confine the inspection",
                    inspection,
                )
            return _sign(file, payload, inspection, repository, actor)
    except SealstoreError as error:
        return Adoption(file, Outcome.REFUSED, error.message, inspection)


def _sign(
    file: LegacyFile,
    payload: PayloadFile,
    inspection: Inspection,
    repository: Repository,
    actor: str | None,
) -> Adoption:
    [ref] = file.candidates
    artifact = repository.store_payload(
        payload.view,
        ref.name,
        ref.tag,
        imports=imports_to_sign(inspection),
        metadata={"adoptedFrom": file.path.name},
        actor=actor,
    )
    return Adoption(file, Outcome.SIGNED, "", inspection, artifact.ref)


def _how_ambiguous(file: LegacyFile) -> str:
    if not file.candidates:
        return "its name is not of the form name_tag; say its name and tag in a mapping file"
    shown = " or ".join(str(ref) for ref in file.candidates)
    return f"it could be {shown}; say which in a mapping file"
