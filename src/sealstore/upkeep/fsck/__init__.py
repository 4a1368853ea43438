"""The check of a whole repository: everything that is there, against everything that is signed.

It repairs nothing and, but for what this client remembers of the head, writes nothing. What was
stored or removed while it runs is no finding: whatever looks wrong is looked at again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sealstore.audit.chains import AccessSource, HistorySource, Ledger
from sealstore.audit.contents import LedgerProof, prove_ledger, shown, stored_since
from sealstore.audit.findings import Finding, claimed_ref
from sealstore.audit.verifying import audit_aliases, verify_source
from sealstore.errors import (
    AccessLogNotFoundError,
    ArtifactNotFound,
    CatalogueTamperedError,
    ConfigurationError,
    KeyringError,
    KeyringNotFoundError,
    LedgerTamperedError,
    MissingExtraError,
    RepositoryNotFoundError,
    SchemaVersionError,
    SealstoreError,
    storage_errors,
)
from sealstore.keys.keyring import Keyring
from sealstore.names import ArtifactRef, Name, Tag
from sealstore.repository.assembly import Parts, open_parts
from sealstore.repository.facade import Repository
from sealstore.repository.listing import ref_of, verify_row
from sealstore.repository.origins import require_origin
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.proving import find, verified_in
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import VerifiedStatement
from sealstore.storage import layout
from sealstore.storage.blobs.contract import BlobStore
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.catalogue import ArtifactRow, Reading
from sealstore.storage.catalogue.listing import every_artifact, origin_at, origin_sequences
from sealstore.trust.record import TrustRecord
from sealstore.upkeep.fsck.files import MirrorCheck, check_payload_files, check_place
from sealstore.upkeep.fsck.report import SETTINGS_FILE, FsckReport, Section
from sealstore.upkeep.verify import REPORT_EVERY, DistinctPayloads, hash_payloads
from sealstore.verification import Proven

_NO_CHECK: Final = (
    ConfigurationError,
    KeyringNotFoundError,
    MissingExtraError,
    RepositoryNotFoundError,
    SchemaVersionError,
)
"""What keeps a check from being made, rather than being what it finds."""


def fsck(
    settings: Settings,
    *,
    keyring: Keyring | None = None,
    progress: Progress = no_progress,
    threads: int | None = None,
    hashing: bool = True,
) -> FsckReport:
    """Check everything that the configured repository has.

    Args:
        settings: name the repository and its keys.
        keyring: the keys; the configured ones by default.
        progress: hears of the phases ``history`` (entries), ``statements`` (artifacts),
            ``payloads`` (bytes), ``files`` and ``access`` (entries).
        threads: how many payloads are hashed at a time; as many as there are cores by default.
        hashing: whether payloads are read at all: a backup has just read them.

    Raises:
        RepositoryNotFoundError, SchemaVersionError: there is none, or none of this release's.
        ConfigurationError, MissingExtraError, KeyringNotFoundError: there is nothing to check with.
    """
    report = FsckReport()
    root = settings.path.absolute()
    try:
        # Opening remembers what is there: what was known of the access log before is asked first.
        record = settings.trust_store().read()
        parts = open_parts(root, settings, keyring)
    except _NO_CHECK:
        raise
    except SealstoreError as error:
        report.add_error(Section.HEAD, error)
        _check_files(root, LocalBlobStore(root), report, None, progress)
        return report
    with Repository(parts) as repository:
        _check(repository, record, report, progress, threads, hashing)
    return report


def _check(
    repository: Repository,
    record: TrustRecord | None,
    report: FsckReport,
    progress: Progress,
    threads: int | None,
    hashing: bool,
) -> None:
    parts = repository.parts
    report.repository = parts.id
    mirror = MirrorCheck(parts, report)
    payloads = DistinctPayloads()
    proof: LedgerProof | None = None
    try:
        with parts.snapshot() as snapshot:
            rows = snapshot.rows
            proof = prove_ledger(rows, snapshot.state, progress=progress)
            _tell_ledger(proof, report)
            statements = StatementCheck(parts, proof, report, mirror, payloads)
            statements.run(rows, progress)
    except SealstoreError as error:
        # A database that cannot be read to its end: what was read is checked all the same.
        report.add_error(Section.HEAD if proof is None else Section.CATALOGUE, error)
    _check_settings(parts, report)
    if proof is not None and proof.contents.has_aliases:
        with report.telling(Section.ALIASES):
            for finding in audit_aliases(repository):
                report.add(Section.ALIASES, finding)
    if hashing:
        _check_payloads(parts, payloads, report, progress, threads)
    contents = proof.contents if proof is not None and proof.is_whole else None
    with report.telling(Section.MIRROR):
        mirror.look_again()
        mirror.walk(contents)
    needed = None
    if proof is not None and contents is not None:
        needed = contents.payloads() | _stored_since(parts, proof, report)
    _check_files(parts.root, parts.blobs, report, needed, progress)
    _check_access(repository, record, report, progress)


def _tell_ledger(proof: LedgerProof, report: FsckReport) -> None:
    report.entries, report.map_records = proof.entries, proof.map_records
    for each in proof.findings:
        report.add(Section.HISTORY, each.finding)
    report.count(Section.HISTORY, proof.findings_in_all - len(proof.findings))


def _check_settings(parts: Parts, report: FsckReport) -> None:
    """repository.json is the one that the head names, in the signature that the catalogue has."""
    hint = "an admin writes it again with 'sealstore resign --settings'."
    try:
        found = layout.read_settings_file(parts.root)
    except SealstoreError as error:
        report.add(Section.HEAD, Finding(None, error.code, error.message, hint))
        return
    if found != parts.state.read().settings.envelope:
        text = "repository.json does not hold the settings that the signed head names."
        report.add(Section.HEAD, Finding(None, SETTINGS_FILE, text, hint))


def _check_payloads(
    parts: Parts,
    payloads: DistinctPayloads,
    report: FsckReport,
    progress: Progress,
    threads: int | None,
) -> None:
    refusals = hash_payloads(parts.blobs, payloads, report, progress=progress, threads=threads)
    for owner, error in refusals:
        try:
            find(parts, owner)
        except ArtifactNotFound:
            # Removed since, and its payload may have been collected.
            continue
        except SealstoreError:
            # That is told elsewhere; the payload is what it is.
            pass
        report.add_error(Section.PAYLOADS, error, str(owner))


def _stored_since(parts: Parts, proof: LedgerProof, report: FsckReport) -> set[str]:
    """The payloads of what was stored while this ran."""
    with report.telling(Section.HISTORY), parts.snapshot(remembering=False) as snapshot:
        return stored_since(proof.tree, snapshot.state.head, snapshot.rows.history)[1]
    return set()


def _check_files(
    root: Path,
    blobs: BlobStore,
    report: FsckReport,
    needed: set[str] | None,
    progress: Progress,
) -> None:
    with report.telling(Section.FILES), storage_errors("A folder cannot be listed"):
        check_place(root, report)
        check_payload_files(blobs, report, needed, progress)


def _check_access(
    repository: Repository, record: TrustRecord | None, report: FsckReport, progress: Progress
) -> None:
    parts = repository.parts
    source = AccessSource(parts)
    ledger = Ledger(repository, parts.keyring, (HistorySource(parts), source))
    audited = verify_source(ledger, source, record, None, progress=progress)
    codes = {finding.code for finding in audited.findings}
    if codes == {AccessLogNotFoundError.code} and source.known(record) is None:
        text = "There is no access log: nothing says what was loaded."
        hint = "where loads are to be on record: 'sealstore audit init'."
        report.note(Section.ACCESS, text, hint)
        return
    report.access_entries = 0 if audited.hashed is None else audited.hashed.entries
    for each in audited.findings:
        report.add(Section.ACCESS, each.finding)
    report.count(Section.ACCESS, audited.findings.count - len(audited.findings.shown))


# ── the catalogue's rows ──────────────────────────────────────────────────────


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
        for row in every_artifact(rows):
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
            if self.report.artifacts % REPORT_EVERY == 0:
                done = self.report.artifacts
                progress("statements", done, max(expected, done))
        self._tell_missing()
        self._check_origins(rows)

    def _verified(self, row: ArtifactRow) -> VerifiedStatement:
        ref = ref_of(row)
        if not self.proof.is_whole:
            # Nothing is known of the contents as a whole: each is held against the map.
            return verify_row(self.parts, row).verified
        found = self.proof.contents.find(ref)
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
                    " make it again from the mirrored statements with 'sealstore rebuild'.",
                )
                self.report.add_error(Section.CATALOGUE, error, shown(artifact))
                ref = ArtifactRef(Name(artifact.name), Tag(artifact.tag), artifact.revision)
                self.mirror.expect(ref)

    def _check_origins(self, rows: Reading) -> None:
        """What is kept of imported artifacts' origins is what was imported."""
        contents = self.proof.contents
        expected = contents.origins.keys() & contents.stored.keys()
        if self.proof.is_whole and any(each not in expected for each in origin_sequences(rows)):
            self.report.add_error(
                Section.CATALOGUE,
                CatalogueTamperedError(
                    "The catalogue has an origin of an artifact that was not imported.",
                    hint="find out who wrote to the catalogue; imports may fail until it is gone.",
                ),
            )
        for sequence in sorted(expected):
            try:
                require_origin(origin_at(rows, sequence), contents.origins[sequence])
            except CatalogueTamperedError as error:
                artifact = shown(contents.stored[sequence])
                self.report.add_error(Section.CATALOGUE, error, artifact)

    def _expect_mirror(self, row: ArtifactRow) -> None:
        with suppress(CatalogueTamperedError):
            self.mirror.expect(ref_of(row))
