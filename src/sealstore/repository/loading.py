"""The flow of a load, as docs/design.md lays it out, and what verifies parts of it.

The numbers are the page's. What decides stands in ``verification``; here the parts are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sealstore.errors import (
    EnvironmentMismatchError,
    EnvironmentMismatchWarning,
    SealstoreError,
    warn_caller,
)
from sealstore.formats.registry import format_named
from sealstore.names import ArtifactRef
from sealstore.repository import environment
from sealstore.repository.assembly import Parts
from sealstore.repository.proving import find
from sealstore.repository.recorded_access import Access
from sealstore.signed.statement import Statement
from sealstore.storage.blobs.memory import VerifiedPayload

MmapMode = Literal["r", "c"]


def load_object(
    parts: Parts, ref: ArtifactRef, access: Access, mmap_mode: MmapMode | None
) -> object:
    """The object of an artifact. See ``Repository.load``."""
    # steps 2 to 5: ask, verify the head, prove the answer, open the statement
    found = find(parts, ref)
    access.found(found.verified)
    statement = found.verified.statement
    predicate = statement.predicate
    # step 6: the policy, over the imports that were signed
    found.state.policies.check(predicate.imports)
    _check_environment(statement, strict=parts.settings.strict_environment)
    # step 7: the payload, into private memory, against its digest
    payload = read_payload(parts, statement, sealed=mmap_mode is not None)
    # step 8: on record, before the first opcode
    access.granted(found.verified)
    # step 9: unpickle from that memory, with the signed imports alone
    return format_named(predicate.format).load(
        payload, imports=predicate.imports, mmap_mode=mmap_mode
    )


def read_payload(parts: Parts, statement: Statement, *, sealed: bool = False) -> VerifiedPayload:
    """The payload that ``statement`` vouches for, verified, in memory that nobody else changes.

    Raises:
        As ``BlobStore.read``.
    """
    return parts.blobs.read(
        statement.digests, statement.predicate.size, check=parts.settings.digest, sealed=sealed
    )


@contextmanager
def about(ref: ArtifactRef) -> Iterator[None]:
    """Let every refusal name the artifact that it is about."""
    try:
        yield
    except SealstoreError as error:
        error.for_artifact(ref)
        raise


def _check_environment(statement: Statement, *, strict: bool) -> None:
    predicate = statement.predicate
    differences = environment.version_differences(predicate.python, predicate.packages)
    if not differences:
        return
    text = f"{'; '.join(differences)}."
    if strict:
        raise EnvironmentMismatchError(f"The environment is a different one: {text}")
    warn_caller(f"{statement.ref}: {text}", EnvironmentMismatchWarning)
