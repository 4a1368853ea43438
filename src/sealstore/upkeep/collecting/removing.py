"""Removing what nothing needs, in transactions that exclude every writer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from sealstore.audit.contents import LedgerProof, stored_since
from sealstore.errors import RepositoryExchangedError, StorageError
from sealstore.ledger import Frontier
from sealstore.repository import environment
from sealstore.repository.assembly import Parts
from sealstore.repository.progress import Progress
from sealstore.repository.recording import change
from sealstore.storage import mirror as mirror_files
from sealstore.upkeep.collecting.report import Candidate, Garbage, GcReport, bytes_of
from sealstore.upkeep.collecting.searching import Needed

_FILES_A_TRANSACTION: Final = 500
_SECONDS_A_TRANSACTION: Final = 0.5
"""How long the other writers are kept waiting; a file system frees a large file in some 0.1 s."""


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
    needed: Needed
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
            self.needed.payloads |= stored
            with ExitStack() as stack:
                remove_payload = stack.enter_context(self.parts.blobs.removing())
                remove_other = stack.enter_context(
                    mirror_files.removing_from_mirror(self.parts.root)
                )
                for candidate in _some(waiting):
                    if self._is_needed(candidate):
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

    def _is_needed(self, candidate: Candidate) -> bool:
        name = candidate.found.name
        return candidate.kind is Garbage.PAYLOAD and name in self.needed.payloads


def _some(waiting: list[Candidate]) -> Iterator[Candidate]:
    """Take one or more files from the end of ``waiting``, as long as others can be kept waiting."""
    began = time.monotonic()
    for _ in range(_FILES_A_TRANSACTION):
        yield waiting.pop()
        if not waiting or time.monotonic() - began > _SECONDS_A_TRANSACTION:
            return


def _counts(removed: list[Candidate]) -> dict[str, Any]:
    """What the history says of a removal."""

    def count(kind: Garbage) -> int:
        return sum(candidate.kind is kind for candidate in removed)

    payloads = [candidate for candidate in removed if candidate.kind is Garbage.PAYLOAD]
    return {
        "payloads": len(payloads),
        "payload_bytes": bytes_of(payloads),
        "staging": count(Garbage.STAGING),
        "set_aside": count(Garbage.SET_ASIDE),
        "bytes": bytes_of(removed),
    }
