"""Payloads from outside: looked into, judged, and signed as they are. They are never loaded.

A file is copied once into sealed memory; a confined process inspects that memory, and this one
hashes, signs and stores that same memory, taking nothing from the other but its report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sealstore import files, limits, named_files
from sealstore.errors import LimitExceededError, SealstoreError
from sealstore.formats.pickling.confinement import inspect_confined
from sealstore.formats.pickling.inspection import Inspection, imports_to_sign, inspect_memory
from sealstore.hetida.legacy_folder import LegacyFile
from sealstore.names import ArtifactRef
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.storage.blobs.reading import copy_sealed

# ── files ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A file's bytes, sealed: what is inspected, hashed and stored is this memory.

    Attributes:
        descriptor: of the sealed memory file.
        view: the same memory.
    """

    descriptor: int
    view: memoryview

    def inspect(self) -> Inspection:
        """What loading these bytes would do, found out by a confined process.

        Raises:
            ConfigurationError: the process could not be started.
        """
        return inspect_confined(self.descriptor)


@contextmanager
def payload_file(path: Path) -> Iterator[PayloadFile]:
    """A file's bytes, read once.

    Args:
        path: a regular file; its last part must not be a link.

    Raises:
        LimitExceededError: larger than any payload may be.
        StorageError: it cannot be read, or is no regular file.
    """
    with named_files.reading("file", path), files.opened(path) as source:
        size = os.fstat(source.fileno()).st_size
        if size > limits.MAX_PAYLOAD_BYTES:
            raise LimitExceededError("The file is larger than any payload may be.", path=path)
        sealed, memory = copy_sealed(source.fileno(), size)
    try:
        yield PayloadFile(sealed, memory.view)
    finally:
        os.close(sealed)


# ── inspecting ───────────────────────────────────────────────────────────────


def inspect(
    target: str | os.PathLike[str] | Artifact, *, repository: Repository | None = None
) -> Inspection:
    """What loading would import and do, without importing or doing any of it.

    Args:
        target: a file, which nobody vouches for and which a confined process inspects; or an
            artifact, whose payload is verified first.
        repository: where the artifact is stored; the configured one by default.

    Returns:
        Imports with their uses, arrays, compression, protocol, and findings: the reasons for which
        it would be refused, whatever it imports.

    Raises:
        SealstoreError: the file cannot be read, or the artifact is refused.
    """
    if not isinstance(target, Artifact):
        with payload_file(Path(target)) as payload:
            return payload.inspect()
    if repository is None:
        with Repository.open() as configured:
            return inspect(target, repository=configured)
    _, view = repository.read_payload(
        target.name, target.tag, revision=target.revision, act="inspect"
    )
    return inspect_memory(view)


def inspection_to_json(inspection: Inspection) -> dict[str, Any]:
    """An inspection as JSON values."""
    return {
        "protocol": inspection.protocol,
        "compression": inspection.compression,
        "confinement": list(inspection.confinement),
        "imports": [
            {
                "module": found.module,
                "qualname": found.qualname,
                "uses": [
                    {
                        "use": use.use.value,
                        "arguments": None if use.arguments is None else list(use.arguments),
                    }
                    for use in found.uses
                ],
            }
            for found in inspection.imports
        ],
        "arrays": [
            {"dtype": kind.dtype, "shape": list(kind.shape), "count": kind.count}
            for kind in inspection.arrays
        ],
        "arraysLeftOut": inspection.arrays_left_out,
        "findings": [
            {"reason": finding.reason.value, "text": finding.text}
            for finding in inspection.findings
        ],
    }


def inspect_again(repository: Repository, artifact: Artifact, actor: str | None = None) -> Artifact:
    """Inspect a stored payload again, and store it as the tag's next revision with what was found.

    For an artifact whose statement lists less than today's policy asks for. Payload and metadata
    stay what they are; the statement of the older revision does too.

    Args:
        repository: where it is stored.
        artifact: which one.
        actor: who asks for it.

    Raises:
        SealstoreError: the artifact is refused, or cannot be stored.
    """
    verified, view = repository.read_payload(
        artifact.name, artifact.tag, revision=artifact.revision, act="inspect", actor=actor
    )
    return repository.store_payload(
        view, verified.name, verified.tag, metadata=verified.metadata, actor=actor
    )


# ── adopting ─────────────────────────────────────────────────────────────────


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
