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
from typing import Final

from sealstore.audit.contents import prove_ledger, shown
from sealstore.audit.findings import Finding
from sealstore.errors import CatalogueTamperedError
from sealstore.keys import Role
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.storage.catalogue import Reading
from sealstore.upkeep.collecting.mirroring import write_missing_mirrors
from sealstore.upkeep.collecting.removing import Removal
from sealstore.upkeep.collecting.report import Candidate, Garbage, GcReport
from sealstore.upkeep.collecting.searching import Needed, Search

__all__ = ["DEFAULT_GRACE_SECONDS", "Candidate", "Garbage", "GcReport", "collect"]

DEFAULT_GRACE_SECONDS: Final = 14 * 86_400
"""Two weeks: whoever removed the wrong artifact has noticed by then, and still has its payload."""
_MAX_FINDINGS: Final = 100


def collect(
    repository: Repository,
    *,
    delete: bool = False,
    grace: float = DEFAULT_GRACE_SECONDS,
    set_aside: bool = False,
    actor: str | None = None,
    progress: Progress = no_progress,
) -> GcReport:
    """Find what nothing needs any more, and remove it if that is asked for.

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
        needed = Needed(proof.contents)
        if proof.findings_in_all == 0:
            _compare_rows(needed, rows, report)
    if report.findings:
        return report
    # 2
    search = Search(parts, report, needed, time.time() - grace, set_aside)
    search.look_at_mirror()
    if report.findings:
        return report
    search.look_at_payloads(progress)
    # 3
    if delete:
        write_missing_mirrors(parts, report, actor)
        Removal(parts, report, needed, proof, actor).run(progress)
    return report


def _compare_rows(needed: Needed, rows: Reading, report: GcReport) -> None:
    """Say where the catalogue's rows are not those of what is stored; keep what they name."""
    missing = dict(needed.contents.stored)
    others = 0
    for sequence, digest, sha256 in rows.claims():
        if isinstance(sha256, str):
            needed.payloads.add(sha256)
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
