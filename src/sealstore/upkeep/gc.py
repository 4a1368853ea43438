"""Collecting garbage: payload files that nothing needs any more, after a period of grace.

What is needed is taken from what is proven, never from rows or files: the payload of every artifact
that the signed history leaves. Rows and mirrored statements can only add to that. So nothing that
somebody deletes or edits makes this delete a payload:

1. Head, history and map are proven, and the catalogue's rows are those of the proven artifacts; or
   nothing is deleted, and what is wrong is told.
2. Files that nothing needs, and that were not touched within the grace, are found. Nobody waits.
3. They are removed in transactions that exclude every writer. Each begins with the verified head,
   and the entries since the proof are proven, too: what they stored is needed.

A store links its payload before its transaction, or finds it there. That transaction makes sure
that the payload is still there (``StagedBlob.secure``): whichever of the two comes first, the
payload of what is on record is there.

A store that was killed after its commit has left out its mirrored statement: it is written, too.

What was removed is on record in the same transaction, after the fact: a repository whose disk is
full can write nothing before something is removed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from sealstore.audit.contents import Contents, LedgerProof, prove_ledger, shown, stored_since
from sealstore.audit.findings import Finding
from sealstore.errors import (
    CatalogueTamperedError,
    RepositoryExchangedError,
    SealstoreError,
    StorageError,
)
from sealstore.keys.keyring import Role
from sealstore.ledger.merkle import Frontier
from sealstore.names import ArtifactRef, Name, Tag, request
from sealstore.repository import environment
from sealstore.repository.assembly import Parts
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.proving import verified_in
from sealstore.repository.recording import Change, change
from sealstore.repository.state import RepositoryState
from sealstore.repository.storing import mirror
from sealstore.signed.envelope import read_unverified, statement_digest
from sealstore.signed.statement import decode
from sealstore.storage import layout
from sealstore.storage import mirror as mirror_files
from sealstore.storage.blobs.contract import FileKind, StoredFile
from sealstore.storage.blobs.folder_walk import FoundFile
from sealstore.storage.catalogue import Reading
from sealstore.storage.catalogue.listing import artifact_at, every_claim
from sealstore.verification import Proven


class Garbage(StrEnum):
    """What a file is that is removed."""

    PAYLOAD = "payload"
    """A payload that nothing needs."""
    STAGING = "staging"
    """A file of a store that did not end."""
    SET_ASIDE = "set aside"
    """A file that lay in a payload's or a statement's place, with wrong bytes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that can be removed.

    Attributes:
        kind: what it is.
        path: relative to the repository.
        size: in bytes.
        since: since when nothing needs it and nobody touched it, seconds of the epoch.
        file: among the payloads; None for a file among the mirrored statements.
        found: as it was found.
    """

    kind: Garbage
    path: str
    size: int
    since: float
    file: StoredFile | None
    found: FoundFile

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {"kind": self.kind.value, "path": self.path, "size": self.size}


@dataclass(slots=True)
class GcReport:
    """What can be removed, and what was.

    Attributes:
        deleting: whether files were to be removed.
        candidates: the files that can be, or could be, removed.
        removed: those that were; a store may have come to need others meanwhile.
        young: files that nothing needs, but whose grace is not over.
        put_away: mirrored statements of removed artifacts that were given a name that says so.
        findings: what is wrong; nothing was removed then.
        unneeded_mirrors: such statements, as far as they were not.
        mirrored: mirrored statements that were missing, and were written.
        missing_mirrors: of which artifacts they are missing: a store was killed after its commit.
    """

    deleting: bool
    candidates: list[Candidate] = field(default_factory=list)
    removed: list[Candidate] = field(default_factory=list)
    young: list[Candidate] = field(default_factory=list)
    put_away: int = 0
    findings: list[Finding] = field(default_factory=list)
    unneeded_mirrors: list[ArtifactRef] = field(default_factory=list)
    mirrored: int = 0
    missing_mirrors: list[ArtifactRef] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "ok": not self.findings,
            "deleting": self.deleting,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "candidateBytes": bytes_of(self.candidates),
            "removed": len(self.removed),
            "removedBytes": bytes_of(self.removed),
            "young": len(self.young),
            "youngBytes": bytes_of(self.young),
            "putAway": self.put_away,
            "missingMirrors": len(self.missing_mirrors),
            "mirrored": self.mirrored,
            "findings": [finding.to_json() for finding in self.findings],
        }


def bytes_of(candidates: list[Candidate]) -> int:
    """Bytes of files together."""
    return sum(candidate.size for candidate in candidates)


DEFAULT_GRACE_SECONDS: Final = 14 * 86_400
"""Two weeks: whoever removed the wrong artifact has noticed by then, and still has its payload."""
_MAX_FINDINGS: Final = 100
_FILES_A_TRANSACTION: Final = 500
_SECONDS_A_TRANSACTION: Final = 0.5
"""How long other writers are kept waiting; a file system frees a large file in some 0.1 s."""
_T = TypeVar("_T")


def collect(
    repository: Repository,
    *,
    delete: bool = False,
    grace: float = DEFAULT_GRACE_SECONDS,
    set_aside: bool = False,
    actor: str | None = None,
    progress: Progress = no_progress,
) -> GcReport:
    """Find what nothing needs any more, and remove it where that is asked for.

    Args:
        repository: which.
        delete: whether to remove it.
        grace: seconds for which a file must not have been needed or touched.
        set_aside: whether files that were moved aside, with wrong bytes, are removed as well.
        actor: who the caller says it is.
        progress: hears of the phases ``history`` (entries), ``files`` and ``removing``.

    Raises:
        NoSigningKeyError: no active key may put on record what is removed.
        VerificationError, CatalogueTamperedError: the head is refused.
        CatalogueError, StorageError: the database or the file system refused.
    """
    parts = repository.parts
    if delete:
        parts.keyring.signer(Role.STORE, parts.id)
    report = GcReport(delete)
    with parts.snapshot() as snapshot:
        # step 1: prove what is needed
        rows = snapshot.rows
        proof = prove_ledger(rows, snapshot.state, progress=progress)
        report.findings += [each.finding for each in proof.findings]
        needed = proof.contents.payloads()
        if proof.findings_in_all == 0:
            _compare_rows(proof.contents, needed, rows, report)
    if report.findings:
        return report
    # step 2: find what nothing needs
    search = _Search(parts, report, proof.contents, needed, time.time() - grace, set_aside)
    search.look_at_mirror()
    if report.findings:
        return report
    search.look_at_payloads(progress)
    # step 3: remove it, and mirror what has no mirrored statement
    if delete:
        write_missing_mirrors(parts, report, actor)
        Removal(parts, report, needed, proof, actor).run(progress)
    return report


def _compare_rows(contents: Contents, needed: set[str], rows: Reading, report: GcReport) -> None:
    """Say where the catalogue's rows are not those of what is stored; keep what they name."""
    missing = dict(contents.stored)
    others = 0
    for sequence, digest, sha256 in every_claim(rows):
        if isinstance(sha256, str):
            needed.add(sha256)
        artifact = missing.pop(sequence, None) if type(sequence) is int else None
        others += artifact is None or (artifact.statement, artifact.sha256) != (digest, sha256)
    for artifact in list(missing.values())[:_MAX_FINDINGS]:
        error = CatalogueTamperedError(
            "The signed head vouches for it, and the catalogue has no row of it."
        )
        report.findings.append(Finding.of(error, shown(artifact)))
    if others:
        error = CatalogueTamperedError(
            f"The catalogue has {others} rows that are not those of what is stored.",
            hint="'sealstore fsck' names them.",
        )
        report.findings.append(Finding.of(error))


# ── finding ───────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Search:
    """Finds files that nothing needs; those that were touched since ``before`` are left alone."""

    parts: Parts
    report: GcReport
    contents: Contents
    needed: set[str]
    before: float
    set_aside: bool

    def look_at_mirror(self) -> None:
        """Find what mirrored statements need that no history knows, and what can go there.

        And of what is stored, what has no mirrored statement.
        """
        missing = dict(self.contents.stored)
        for found in mirror_files.mirror_files(self.parts.root):
            path = f"{layout.STATEMENTS_FOLDER}/{found.path}"
            mirrored = mirror_files.mirrored_ref(found)
            if found.is_staging:
                self._note(Garbage.STAGING, path, None, found)
            elif mirrored is not None:
                stored = self._look_at_mirrored(found, path, *mirrored)
                missing.pop(stored, None)
            elif found.is_set_aside and not found.is_folder:
                with suppress(SealstoreError):
                    self._keep_payload_of(mirror_files.read_mirror_file(self.parts.root, found))
                if self.set_aside:
                    self._note(Garbage.SET_ASIDE, path, None, found)
        self.report.missing_mirrors += [
            request(artifact.name, artifact.tag, artifact.revision) for artifact in missing.values()
        ]

    def _look_at_mirrored(
        self, found: FoundFile, path: str, ref: ArtifactRef, is_put_away: bool
    ) -> int:
        """The place in the history of what is stored, and mirrored by this file; 0 if none is."""
        stored, removed = self.contents.find(ref), self.contents.find_removed(ref)
        try:
            data = mirror_files.read_mirror_file(self.parts.root, found)
            if data is not None:
                if removed is None or statement_digest(data) != removed.statement:
                    self._keep_payload_of(data)
                elif not is_put_away:
                    self.report.unneeded_mirrors.append(ref)
        except SealstoreError as error:
            # Of what is stored, the history knows the payload; fsck tells of the mirror.
            if stored is None:
                text = (
                    f"{path}, of which the history knows nothing, cannot be read as a statement, so"
                    f" that the payload that it may need is not known: {error.message}"
                )
                hint = "find out who wrote it, then move it out of the repository."
                self.report.findings.append(Finding(str(ref), error.code, text, hint))
        return 0 if stored is None or is_put_away else stored[0]

    def _keep_payload_of(self, data: bytes | None) -> None:
        """Keep the payload that a statement names.

        Nobody need believe it: all that it can do is to keep a file. It may be all that is left of
        an artifact, where the catalogue is older than the mirror.

        Raises:
            VerificationError: it is no statement.
        """
        if data is not None:
            statement = decode(read_unverified(data).payload)
            self.needed.add(statement.digests.sha256)

    def look_at_payloads(self, progress: Progress) -> None:
        """Find payloads that nothing needs, and other files that can go."""
        kinds = {FileKind.STAGING: Garbage.STAGING, FileKind.PAYLOAD: Garbage.PAYLOAD}
        if self.set_aside:
            kinds[FileKind.SET_ASIDE] = Garbage.SET_ASIDE
        total = len(self.needed)
        for done, file in enumerate(self.parts.blobs.files()):
            kind = kinds.get(file.kind)
            is_needed = file.kind is FileKind.PAYLOAD and file.found.name in self.needed
            if kind is not None and not is_needed and not file.found.is_folder:
                self._note(kind, f"objects/{file.found.path}", file, file.found)
            if done % 1_000 == 0:
                progress("files", done, max(done, total))

    def _note(self, kind: Garbage, path: str, file: StoredFile | None, found: FoundFile) -> None:
        since = found.changed
        if kind is Garbage.PAYLOAD:
            # When the last artifact left it; none that is known ever had it otherwise.
            left = self.contents.left_at.get(found.name)
            since = max(since, 0.0 if left is None else datetime.fromisoformat(left).timestamp())
        candidate = Candidate(kind, path, found.status.st_size, since, file, found)
        is_old = since < self.before
        (self.report.candidates if is_old else self.report.young).append(candidate)


# ── mirroring and removing ───────────────────────────────────────────────────


def write_missing_mirrors(parts: Parts, report: GcReport, actor: str | None) -> None:
    """Mirror what is stored and has no mirrored statement, from its verified row.

    No writer comes between: whoever removes an artifact puts its mirror away, and finds this one.

    Raises:
        VerificationError, CatalogueTamperedError: the head is refused, or a row.
        CatalogueError: the database refused.
    """
    waiting = report.missing_mirrors.copy()
    while waiting:
        with change(parts, environment.stored_by(actor)) as (made, state):
            for ref in _some(waiting):
                report.mirrored += _mirror_one(parts, made, state, ref)


def _mirror_one(parts: Parts, made: Change, state: RepositoryState, ref: ArtifactRef) -> bool:
    value = made.revision(Name(ref.name), Tag.to_store(ref.tag), ref.revision or 0)
    if value is None or value.state == "removed":
        return False
    row = artifact_at(made.transaction, value.sequence)
    if row is None:
        return False
    verified_in(state, row, Proven(ref, value.statement))
    mirror(parts, ref, row.envelope)
    return True


@dataclass(slots=True)
class Removal:
    """The removal of what was found.

    Attributes:
        parts: of the repository.
        report: what was found, and where it is noted what was removed.
        needed: which payloads are needed.
        proof: what is proven so far.
        actor: who the caller says it is.
    """

    parts: Parts
    report: GcReport
    needed: set[str]
    proof: LedgerProof
    actor: str | None

    def run(self, progress: Progress) -> None:
        """Remove it, a few files at a time."""
        for ref in self.report.unneeded_mirrors:
            # Its revision is never given out again: nobody else writes there.
            self.report.put_away += mirror_files.put_mirror_away(self.parts.root, ref)
        waiting = list(reversed(self.report.candidates))
        tree = self.proof.tree
        total = len(waiting)
        while waiting:
            progress("removing", total - len(waiting), total)
            tree = self._remove_some(waiting, tree)
        progress("removing", total, total)

    def _remove_some(self, waiting: list[Candidate], tree: Frontier) -> Frontier:
        """Remove the last of ``waiting`` in one transaction; the tree of what is proven by it."""
        removed: list[Candidate] = []
        failure: StorageError | None = None
        with change(self.parts, environment.stored_by(self.actor)) as (made, state):
            head, proven = state.head, self.proof.state.head
            if (head.repository, head.epoch) != (proven.repository, proven.epoch):
                raise RepositoryExchangedError(
                    "The repository was exchanged while its garbage was looked for; nothing more"
                    " was removed."
                )
            tree, stored = stored_since(tree, head, made.transaction.history)
            self.needed |= stored
            with (
                self.parts.blobs.removing() as remove_payload,
                mirror_files.removing_from_mirror(self.parts.root) as remove_other,
            ):
                for candidate in _some(waiting):
                    is_payload = candidate.kind is Garbage.PAYLOAD
                    if is_payload and candidate.found.name in self.needed:
                        continue
                    try:
                        if candidate.file is None:
                            is_gone = remove_other(candidate.found)
                        else:
                            is_gone = remove_payload(candidate.file)
                    except StorageError as error:
                        # What is removed already belongs on record.
                        failure = error
                        break
                    if is_gone:
                        removed.append(candidate)
            if removed:
                made.append("gc", None, **_counts(removed))
        self.report.removed += removed
        if failure is not None:
            raise failure
        return tree


def _some(waiting: list[_T]) -> Iterator[_T]:
    """Take one or more from the end of ``waiting``, as long as others can be kept waiting."""
    began = time.monotonic()
    for _ in range(_FILES_A_TRANSACTION):
        yield waiting.pop()
        if not waiting or time.monotonic() - began > _SECONDS_A_TRANSACTION:
            return


def _counts(removed: list[Candidate]) -> dict[str, Any]:
    """What the history says of a removal."""
    kinds = Counter(candidate.kind for candidate in removed)
    payloads = [candidate for candidate in removed if candidate.kind is Garbage.PAYLOAD]
    return {
        "payloads": len(payloads),
        "payload_bytes": bytes_of(payloads),
        "staging": kinds[Garbage.STAGING],
        "set_aside": kinds[Garbage.SET_ASIDE],
        "bytes": bytes_of(removed),
    }
