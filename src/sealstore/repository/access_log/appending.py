"""One entry of the access log: made, signed for, and written with the head that sums it up."""

from __future__ import annotations

from dataclasses import dataclass

from sealstore.ledger.entries import (
    AccessEntry,
    AccessRequest,
    Act,
    Actor,
    EntryArtifact,
    Outcome,
    decode_access_entry,
    encode_entry,
)
from sealstore.ledger.head import seal_access_head
from sealstore.ledger.merkle import leaf_hash
from sealstore.repository import environment
from sealstore.repository.access_log.heads import SeenHead, next_head
from sealstore.signed.envelope import Signer
from sealstore.storage.catalogue.ledger_rows import ChainWriter, EntryRow, NodeRow


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be recorded; see ``AccessEntry``."""

    act: Act
    outcome: Outcome
    reason: str | None
    request: AccessRequest
    artifact: EntryArtifact | None
    grant: int | None
    context: str | None


def append(rows: ChainWriter, seen: SeenHead, signer: Signer, event: Event, by: Actor) -> SeenHead:
    """Write the entry of an event, and return the head that has it.

    Args:
        rows: of a transaction that excludes other writers.
        seen: the verified head that is there.
        signer: signs the next one.
        event: what happened.
        by: to whom.

    Raises:
        LedgerFormatError: there is no such event, or the log is full.
        CatalogueError: the database refused.
    """
    entry = AccessEntry(
        sequence=seen.head.size + 1,
        act=event.act,
        outcome=event.outcome,
        reason=event.reason,
        at=environment.now(),
        by=by,
        context=event.context,
        recorded_by=signer.key_id,
        request=event.request,
        artifact=event.artifact,
        grant=event.grant,
    )
    data = encode_entry(entry)
    # What no auditor could read is not put on record.
    decode_access_entry(data, entry.sequence)
    tree, nodes = seen.tree.append(leaf_hash(data))
    head = next_head(seen.head, tree, entry.at)
    envelope = seal_access_head(head, signer)
    node_rows = [NodeRow(node.level, node.index, node.digest) for node in nodes]
    rows.append([_entry_row(entry, data)], node_rows, envelope)
    return SeenHead(envelope, head, tree, seen.keyring)


def _entry_row(entry: AccessEntry, data: bytes) -> EntryRow:
    about = entry.request if entry.artifact is None else entry.artifact
    return EntryRow(
        sequence=entry.sequence,
        entry=data,
        event=f"{entry.act} {entry.outcome}",
        at=entry.at,
        name=about.name,
        tag=about.tag,
    )
