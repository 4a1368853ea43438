"""Every row of the catalogue against what the proven history says is stored, and the reverse."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from sealstore.audit.contents import LedgerProof, shown
from sealstore.audit.findings import claimed_ref
from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    KeyringError,
    LedgerTamperedError,
    SealstoreError,
)
from sealstore.names import ArtifactRef, Name, Tag
from sealstore.repository.assembly import Parts
from sealstore.repository.origins import require_origin
from sealstore.repository.progress import Progress
from sealstore.repository.proving import ref_of, verified_in, verify_row
from sealstore.signed.envelope import VerifiedStatement
from sealstore.storage.catalogue import ArtifactRow, Reading
from sealstore.upkeep.fsck.mirror import MirrorCheck
from sealstore.upkeep.fsck.report import FsckReport, Section
from sealstore.upkeep.payload_hashing import DistinctPayloads
from sealstore.verification import Proven

_REPORT_EVERY: Final = 200
"""Statements between two reports of progress: a report costs more than a statement."""


@dataclass(slots=True)
class StatementCheck:
    """The catalogue's rows, one by one.

    Args:
        parts: of the repository.
        proof: what the ledger of the same snapshot proves.
        report: where to say what is wrong.
        mirror: is told of each genuine envelope.

    Attributes:
        payloads: those that verified statements vouch for.
    """

    parts: Parts
    proof: LedgerProof
    report: FsckReport
    mirror: MirrorCheck
    payloads: DistinctPayloads = field(default_factory=DistinctPayloads)
    _seen: set[int] = field(default_factory=set)

    def run(self, rows: Reading, progress: Progress) -> None:
        """Look at every row of the snapshot.

        Raises:
            KeyringError: the keyring failed.
            CatalogueError: the database failed.
        """
        expected = len(self.proof.contents.stored)
        progress("statements", 0, expected)
        for row in rows.artifacts():
            self.report.artifacts += 1
            try:
                verified = self._verified(row)
            except ArtifactNotFound:
                # Only asked where the history is not whole: removed since the snapshot.
                continue
            except KeyringError:
                raise
            except SealstoreError as error:
                self.report.add_error(Section.CATALOGUE, error, claimed_ref(row))
                self._expect_mirror(row)
            else:
                statement = verified.statement
                size = statement.predicate.size
                self.payloads.add(statement.digests, size, statement.ref)
                self.mirror.compare(statement.ref, row.envelope)
            if self.report.artifacts % _REPORT_EVERY == 0:
                done = self.report.artifacts
                progress("statements", done, max(expected, done))
        self._tell_missing()
        self._check_origins(rows)

    def _verified(self, row: ArtifactRow) -> VerifiedStatement:
        ref = ref_of(row)
        if not self.proof.is_whole:
            # Nothing is known of the contents as a whole: each is held against the map.
            return verify_row(self.parts, row).verified
        found = self.proof.contents.find(ref.name, ref.tag, ref.revision or 0)
        if found is None:
            raise CatalogueTamperedError(
                "The catalogue has a row of it, and the signed head vouches for none."
            )
        sequence, artifact = found
        self._seen.add(sequence)
        verified = verified_in(self.proof.state, row, Proven(ref, artifact.statement))
        statement = verified.statement
        if (statement.predicate.sequence, statement.digests.sha256) != (sequence, artifact.sha256):
            raise LedgerTamperedError(
                "The history names another place, or another payload, than the signed statement."
            )
        return verified

    def _tell_missing(self) -> None:
        for sequence, artifact in self.proof.contents.stored.items():
            if sequence not in self._seen:
                error = CatalogueTamperedError(
                    "The signed head vouches for it, and the catalogue has no row of it.",
                    hint="find out who wrote to the catalogue, then restore it from a backup, or"
                    " make it anew from the mirrored statements with 'sealstore rebuild'.",
                )
                self.report.add_error(Section.CATALOGUE, error, shown(artifact))
                ref = ArtifactRef(Name(artifact.name), Tag(artifact.tag), artifact.revision)
                self.mirror.expect(ref)

    def _check_origins(self, rows: Reading) -> None:
        """What is kept of imported artifacts' origins is what was imported."""
        contents = self.proof.contents
        expected = contents.origins.keys() & contents.stored.keys()
        if self.proof.is_whole and any(each not in expected for each in rows.origin_sequences()):
            self.report.add_error(
                Section.CATALOGUE,
                CatalogueTamperedError(
                    "The catalogue has an origin of an artifact that was not imported.",
                    hint="find out who wrote to the catalogue; imports may fail until it is gone.",
                ),
            )
        for sequence in sorted(expected):
            try:
                require_origin(rows.origin(sequence), contents.origins[sequence])
            except CatalogueTamperedError as error:
                artifact = shown(contents.stored[sequence])
                self.report.add_error(Section.CATALOGUE, error, artifact)

    def _expect_mirror(self, row: ArtifactRow) -> None:
        with suppress(CatalogueTamperedError):
            self.mirror.expect(ref_of(row))
