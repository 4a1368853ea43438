"""Changing what is stored already: removing artifacts, and signing them anew."""

from __future__ import annotations

from sealstore import environment
from sealstore.artifact import Artifact
from sealstore.assembly import Parts
from sealstore.catalogue import ArtifactRow
from sealstore.envelope import STATEMENT_PAYLOAD_TYPE, open_statement, read_unverified, seal
from sealstore.errors import ArtifactNotFound
from sealstore.keys import Role
from sealstore.loading import ref_of, verified_row
from sealstore.names import ArtifactRef
from sealstore.storing import history_entry, mirror


def remove(parts: Parts, ref: ArtifactRef, actor: str | None) -> tuple[ArtifactRef, ...]:
    """Take artifacts out of the catalogue. See ``Repository.remove``."""
    parts.keyring.signer(Role.STORE, parts.id)
    who = environment.stored_by(actor)
    with parts.catalogue.write() as transaction:
        rows = [
            row
            for row in transaction.revisions(ref.name, ref.tag)
            if ref.revision in (None, row.revision)
        ]
        if not rows:
            raise ArtifactNotFound("There is no such artifact in this repository.")
        removed = tuple(map(ref_of, rows))
        for row in rows:
            transaction.delete_artifact(row.sequence)
            sequence = transaction.next_sequence()
            transaction.append_history(
                history_entry("remove", row, sequence, who.actor or who.user)
            )
    return removed


def resign(parts: Parts, ref: ArtifactRef, actor: str | None) -> Artifact:
    """Sign a statement with today's key. See ``Repository.resign``."""
    signer = parts.keyring.signer(Role.STORE, parts.id)
    who = environment.stored_by(actor)
    with parts.catalogue.write() as transaction:
        row = transaction.find(ref)
        if row is None:
            raise ArtifactNotFound("There is no such artifact in this repository.")
        verified = verified_row(parts, row, ref)
        if verified.key_id == signer.key_id:
            return Artifact(verified)
        signed_bytes = read_unverified(row.envelope).payload
        envelope = seal(STATEMENT_PAYLOAD_TYPE, signed_bytes, signer)
        verified = open_statement(envelope, parts.keyring)
        signed = ArtifactRow.of(verified, envelope)
        transaction.replace_envelope(signed)
        transaction.append_history(
            history_entry("resign", signed, transaction.next_sequence(), who.actor or who.user)
        )
    mirror(parts, verified.statement.ref, envelope, replace=True)
    return Artifact(verified)
