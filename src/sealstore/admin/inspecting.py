"""Inspecting a file or a stored artifact on demand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sealstore.admin.payload_files import payload_file
from sealstore.formats.pickling.inspection import Inspection, inspect_memory
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository


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
    """Inspect a stored payload anew, and store it as the tag's next revision with what was found.

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
