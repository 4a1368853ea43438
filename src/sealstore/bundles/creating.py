"""Making a bundle: everything in it is proven against one head, and verified as it is copied."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealstore.bundles.file import CopyPayload, Write, open_bundle, write_bundle
from sealstore.bundles.format import ArtifactEvidence, Evidence, SinceEvidence, encode_hints
from sealstore.errors import BundleRefusedError, CatalogueTamperedError, LedgerTamperedError
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import State
from sealstore.ledger.authenticated_map import positions_of, prove, revision_key
from sealstore.ledger.consistency import consistency_proof
from sealstore.ledger.continuity import require_extends
from sealstore.ledger.head import open_head
from sealstore.ledger.inclusion import inclusion_proof
from sealstore.ledger.map_values import decode_revision
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.names import ArtifactRef
from sealstore.repository.artifact import Artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.facade import Repository
from sealstore.repository.history_entries import CachedNodes, proven_entry
from sealstore.repository.loading import about
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.proving import verified_in
from sealstore.repository.recorded_access import access
from sealstore.repository.state import RepositoryState
from sealstore.signed.envelope import VerifiedStatement, read_unverified
from sealstore.storage.catalogue import Reading
from sealstore.storage.catalogue.chain_rows import entry_rows
from sealstore.storage.catalogue.listing import artifact_at
from sealstore.verification import Proven, prove_answer, question_key


@dataclass(frozen=True, slots=True)
class BundleCreated:
    """A bundle that was made.

    Attributes:
        path: its file.
        size: bytes of it.
        point: what its head says.
        artifacts: what is in it.
        hmac_keys: ids of the HMAC keys that signed something in it: whoever is to verify the bundle
            must have these very keys.
    """

    path: Path
    size: int
    point: HistoryCheckpoint
    artifacts: tuple[Artifact, ...]
    hmac_keys: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "file": str(self.path),
            "size": self.size,
            "repository": self.point.repository,
            "historySize": self.point.size,
            "historyRoot": self.point.root,
            "headTime": self.point.time,
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "hmacKeys": list(self.hmac_keys),
        }


def create_bundle(
    repository: Repository,
    refs: Iterable[ArtifactRef],
    path: Path,
    *,
    since: Path | None = None,
    replace: bool = False,
    actor: str | None = None,
    progress: Progress = no_progress,
) -> BundleCreated:
    """Write artifacts to a bundle, with all that proves them against the present head.

    The same artifacts at the same head make the same file, byte for byte. Each is on record as
    exported before its payload is copied.

    Args:
        repository: where they are.
        refs: which; an alias, ``latest`` or a tag stands for what it means now.
        path: the file, outside of the repository.
        since: an older bundle of this repository. The new one then proves that its history begins
            with the older one's, to a site that has imported that.
        replace: whether a file that is there gives way.
        actor: who the caller says it is.
        progress: hears of the phase ``payloads`` (bytes).

    Raises:
        AccessLogError: the exports cannot be put on record.
        ArtifactNotFound: one of them is not there.
        VerificationError, CatalogueTamperedError: one is refused, or its payload; there is no file.
        BundleRefusedError: ``since`` is another repository's.
        StorageError, CatalogueError: there is a file already, or disk or database failed.
    """
    parts = repository.parts
    older = None if since is None else _point_of(since, parts)
    with ExitStack() as stack:
        wanted = {
            ref: stack.enter_context(access(parts, "export", ref, actor=actor, context="bundle"))
            for ref in refs
        }
        collected = _collected(parts, list(wanted), older)
        for ref, made in wanted.items():
            made.granted(collected.statements[collected.resolved[ref]])
        size = write_bundle(
            path, collected.evidence, _copying(parts, collected, progress), replace=replace
        )
    state = collected.state
    signers = _signers(state, collected.statements.values())
    hmac_keys = tuple(
        key.key_id
        for key in state.keyring
        if key.key_id in signers and key.algorithm == HmacSha256.algorithm
    )
    artifacts = tuple(map(Artifact, collected.statements.values()))
    return BundleCreated(path, size, state.point, artifacts, hmac_keys)


def _copying(parts: Parts, collected: _Collected, progress: Progress) -> CopyPayload:
    """What copies one payload after the other, and tells how far it is."""
    payloads = {
        each.statement.digests.sha256: each.statement for each in collected.statements.values()
    }
    total = sum(collected.evidence.payloads.values())
    done = 0

    def copy(sha256: str, write: Write) -> None:
        statement = payloads[sha256]

        def take(chunk: memoryview) -> None:
            nonlocal done
            write(chunk)
            done += len(chunk)
            progress("payloads", done, total)

        with about(statement.ref):
            parts.blobs.copy(statement.digests, statement.predicate.size, take)

    progress("payloads", 0, total)
    return copy


def _point_of(path: Path, parts: Parts) -> HistoryCheckpoint:
    """What the head of an older bundle says.

    Its key may have been retired since: it vouches for nothing new, since the present head is
    proven to continue it, or nothing is made.
    """
    keyring = parts.keyring
    with open_bundle(path) as bundle:
        head = open_head(bundle.evidence.head, keyring, keyring.ids(State.ACTIVE, State.RETIRED))
    point = HistoryCheckpoint.of(head.head)
    if point.repository != parts.id:
        raise BundleRefusedError(
            "The older bundle comes from another repository.",
            path=path,
            hint="name one that was made of this repository.",
        )
    return point


@dataclass(frozen=True, slots=True)
class _Collected:
    """What a bundle is made of, all from one snapshot.

    Attributes:
        state: what the head vouches for.
        resolved: which artifact each request means.
        statements: of each artifact, in the bundle's order.
        evidence: all of the bundle but the payloads.
    """

    state: RepositoryState
    resolved: dict[ArtifactRef, ArtifactRef]
    statements: dict[ArtifactRef, VerifiedStatement]
    evidence: Evidence


def _collected(
    parts: Parts, refs: list[ArtifactRef], older: HistoryCheckpoint | None
) -> _Collected:
    with parts.snapshot() as snapshot:
        rows, state = snapshot.rows, snapshot.state
        resolved = {ref: _resolved(state, rows, ref) for ref in refs}
        collector = _Collector(state, rows)
        in_order = sorted(
            set(resolved.values()), key=lambda ref: (ref.name, ref.tag, ref.revision or 0)
        )
        found = {ref: collector.collect(ref) for ref in in_order}
        since = None if older is None else _since(state, rows, older)
    statements = {ref: verified for ref, (verified, _) in found.items()}
    evidence = Evidence(
        head=state.envelope,
        settings=state.settings.envelope,
        keys=encode_hints(state.keyring, _signers(state, statements.values()), state.repository),
        since=since,
        rows=collector.rows,
        artifacts=tuple(artifact for _, artifact in found.values()),
        payloads={
            each.statement.digests.sha256: each.statement.predicate.size
            for each in statements.values()
        },
    )
    return _Collected(state, resolved, statements, evidence)


def _signers(state: RepositoryState, statements: Iterable[VerifiedStatement]) -> frozenset[str]:
    head_key = read_unverified(state.envelope).key_id
    return frozenset([head_key, state.settings.key_id, *(each.key_id for each in statements)])


def _resolved(state: RepositoryState, rows: Reading, ref: ArtifactRef) -> ArtifactRef:
    with about(ref):
        fetched = rows.map.fetch(positions_of(question_key(ref)))
        return prove_answer(state.head.map_root, ref, fetched).ref


class _Collector:
    """Collects what proves artifacts against one head.

    Attributes:
        rows: of the map, those that the proofs need.
    """

    def __init__(self, state: RepositoryState, reading: Reading) -> None:
        self.rows: dict[int, bytes] = {}
        self._state = state
        self._reading = reading
        self._nodes = CachedNodes(reading.history)

    def collect(self, ref: ArtifactRef) -> tuple[VerifiedStatement, ArtifactEvidence]:
        """The verified statement of an artifact, and what proves it."""
        with about(ref):
            return self._collect(ref)

    def _collect(self, ref: ArtifactRef) -> tuple[VerifiedStatement, ArtifactEvidence]:
        head, history = self._state.head, self._reading.history
        key = revision_key(ref.name, ref.tag, ref.revision or 0)
        self.rows |= self._reading.map.fetch(set(positions_of(key)) - self.rows.keys())
        proven = prove_answer(head.map_root, ref, self.rows)
        value = prove(bytes.fromhex(head.map_root), key, self.rows)
        sequence = decode_revision(value or b"").sequence
        verified, envelope = self._statement(proven, sequence)
        row = next(entry_rows(history, sequence - 1, sequence), None)
        if row is None:
            raise LedgerTamperedError(f"Entry {sequence} of the history is missing.")
        proven_entry(row, self._nodes, head)
        inclusion = tuple(inclusion_proof(self._nodes, sequence - 1, head.size))
        return verified, ArtifactEvidence(ref, envelope, row.entry, inclusion)

    def _statement(self, proven: Proven, sequence: int) -> tuple[VerifiedStatement, bytes]:
        row = artifact_at(self._reading, sequence)
        if row is None:
            raise CatalogueTamperedError(
                f"The signed head vouches for {proven.ref}, and the catalogue has no row of it."
            )
        return verified_in(self._state, row, proven), row.envelope


def _since(state: RepositoryState, rows: Reading, older: HistoryCheckpoint) -> SinceEvidence:
    proof: list[bytes] = []
    if older.size <= state.head.size:
        proof = consistency_proof(rows.history, older.size, state.head.size)
    require_extends(older, state.point, proof)
    return SinceEvidence(older.size, tuple(proof))
