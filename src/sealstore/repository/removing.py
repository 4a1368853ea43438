"""Changing what is stored already: removing artifacts, and signing them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sealstore.errors import (
    ArtifactInUseError,
    ArtifactNotFound,
    CatalogueTamperedError,
    KeyringError,
    LedgerTamperedError,
    RevokedKeyError,
    SealstoreError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.ledger.entries import EntryArtifact
from sealstore.ledger.map_values import RevisionValue, TagValue
from sealstore.names import ArtifactRef, Name, Tag
from sealstore.repository import environment
from sealstore.repository.artifact import Artifact, entry_artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.loading import about
from sealstore.repository.map_changes import aliases_of, note_removed, tag_value
from sealstore.repository.proving import verified_in
from sealstore.repository.recording import Change, change
from sealstore.repository.state import RepositoryState
from sealstore.repository.storing import mirror, warn
from sealstore.signed.envelope import (
    STATEMENT_PAYLOAD_TYPE,
    VerifiedStatement,
    open_statement,
    read_unverified,
    seal,
)
from sealstore.storage import mirror as mirror_files
from sealstore.storage.catalogue import ArtifactRow
from sealstore.storage.catalogue.listing import artifact_at
from sealstore.verification import Proven

# ── removing ─────────────────────────────────────────────────────────────────


def remove(parts: Parts, ref: ArtifactRef, actor: str | None) -> tuple[ArtifactRef, ...]:
    """Take artifacts out of the repository. See ``Repository.remove``."""
    name, tag = ref.name, ref.tag
    with about(ref), change(parts, environment.stored_by(actor)) as (made, _):
        value = tag_value(made, name, tag)
        highest = 0 if value is None else value.highest
        wanted = range(1, highest + 1) if ref.revision is None else [ref.revision]
        removed = [
            replace(ref, revision=revision)
            for revision in wanted
            if _remove_revision(made, name, tag, revision)
        ]
        if not removed:
            raise _not_found()
        _refuse_meant(made, name, tag, removed)
    for each in removed:
        _put_mirror_away(parts, each)
    return tuple(removed)


def _refuse_meant(made: Change, name: Name, tag: Tag, removed: Sequence[ArtifactRef]) -> None:
    """Return if no alias means what was removed; the map knows every alias of a name."""
    gone = {ref.revision for ref in removed}
    for alias, value in aliases_of(made, name):
        if value.tag == str(tag) and value.revision in gone:
            raise ArtifactInUseError(
                f"The alias {alias} of {name} means {tag}@{value.revision}, so that it cannot be"
                " removed."
            )


def _put_mirror_away(parts: Parts, ref: ArtifactRef) -> None:
    try:
        mirror_files.put_mirror_away(parts.root, ref)
    except SealstoreError as error:
        # The artifact is removed, as the head says; 'sealstore gc' puts its mirror away later.
        warn(f"{ref}: {error.message}")


def _remove_revision(made: Change, name: Name, tag: Tag, revision: int) -> bool:
    """Remove one revision. Returns whether it was there."""
    value = note_removed(made, name, tag, revision, "")
    if value is None:
        return False
    made.transaction.delete_artifacts(name, tag, revision)
    made.append("remove", _removed_artifact(made, name, tag, revision, value))
    return True


def _removed_artifact(
    made: Change, name: Name, tag: Tag, revision: int, value: RevisionValue
) -> EntryArtifact:
    """What the history says of an artifact: from its own entry, whatever became of its row."""
    entry = made.entry(value.sequence)
    artifact = entry.artifact
    if artifact is None or (artifact.name, artifact.tag, artifact.revision, artifact.statement) != (
        str(name),
        str(tag),
        revision,
        value.statement,
    ):
        raise LedgerTamperedError(
            f"Entry {value.sequence} of the history is not the one of the artifact's store."
        )
    return artifact


# ── signing again ─────────────────────────────────────────────────────────────


def resign(
    parts: Parts, ref: ArtifactRef, actor: str | None, accept_payload: str | None
) -> Artifact:
    """Sign a statement with today's key. See ``Repository.resign``."""
    with about(ref), change(parts, environment.stored_by(actor)) as (made, state):
        ref = _resolved(made, ref)
        value = made.revision(ref.name, ref.tag, ref.revision or 0)
        if value is None or value.state == "removed":
            raise _not_found()
        row = artifact_at(made.transaction, value.sequence)
        if row is None:
            raise CatalogueTamperedError(
                "The signed head vouches for the artifact, and the catalogue has no row of it."
            )
        # The statement is in the history: the map holds its digest.
        proven = Proven(ref, value.statement)
        verified, accepted_by = _accepted(state, row, proven, accept_payload)
        if verified.key_id == made.signer.key_id:
            return Artifact(verified)
        signed_bytes = read_unverified(row.envelope).payload
        envelope = seal(STATEMENT_PAYLOAD_TYPE, signed_bytes, made.signer)
        old_key_id = verified.key_id
        verified = open_statement(envelope, state.keyring)
        made.transaction.replace_envelope(ArtifactRow.of(verified, envelope))
        details = {} if accepted_by is None else {"accepted_by": accepted_by}
        made.append("resign", entry_artifact(verified), old_key=old_key_id, **details)
    mirror(parts, verified.statement.ref, envelope, replace=True)
    return Artifact(verified)


def _resolved(made: Change, ref: ArtifactRef) -> ArtifactRef:
    """The revision that a tag, an alias or ``latest`` means now."""
    if ref.revision is not None:
        return ref
    value = made.segment(ref.name, ref.tag)
    if value is None or value.revision is None:
        raise _not_found()
    tag = ref.tag if isinstance(value, TagValue) else Tag.to_store(value.tag or "")
    return ArtifactRef(ref.name, tag, value.revision)


def _not_found() -> ArtifactNotFound:
    return ArtifactNotFound("There is no such artifact in this repository.")


def _accepted(
    state: RepositoryState, row: ArtifactRow, proven: Proven, accept_payload: str | None
) -> tuple[VerifiedStatement, str | None]:
    """The verified statement, and the admin key whose holder accepts a revoked key's, if needed."""
    try:
        return verified_in(state, row, proven), None
    except RevokedKeyError as error:
        if accept_payload is None:
            error.hint = (
                "if the payload is known to be genuine by other means, an admin names it:"
                " 'sealstore resign --artifact NAME:TAG@REVISION --accept SHA256'."
            )
            raise
    admin = state.keyring.signer(Role.ADMIN, state.repository)
    key_id = read_unverified(row.envelope).key_id
    as_if_retired = Keyring.of([replace(state.keyring.get(key_id), state=State.RETIRED)])
    verified = verified_in(replace(state, keyring=as_if_retired), row, proven)
    if verified.statement.digests.sha256 != accept_payload:
        raise KeyringError(
            "The payload that was accepted is not the artifact's; nothing was signed.",
            hint="compare its SHA-256 with the record that you have of the genuine payload.",
        )
    return verified, admin.key_id
