"""Today's signatures under settings and under artifacts of retired keys; what they say stays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sealstore.audit.contents import walk_rows
from sealstore.audit.findings import Finding, claimed_ref
from sealstore.errors import (
    CatalogueError,
    KeyringError,
    RepositoryMismatchError,
    RevokedKeyError,
    SealstoreError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.names import request
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import read_unverified
from sealstore.signed.settings import RepositorySettings, open_settings
from sealstore.storage import layout
from sealstore.storage.catalogue import ArtifactRow
from sealstore.storage.catalogue.listing import ListFilter, count_artifacts

# ── the settings ─────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SettingsSignature:
    """A new signature under a repository's settings, which stay as they were.

    Attributes:
        settings: what was signed.
        old_key_id: whose signature was there.
        new_key_id: whose is there now; the same where nothing had to be done.
    """

    settings: RepositorySettings
    old_key_id: str
    new_key_id: str


def settings_key_id(root: Path) -> str:
    """The id of the key that ``repository.json`` says it was signed by; unauthenticated.

    Raises:
        RepositoryNotFoundError, RepositoryLayoutError: there is no readable ``repository.json``.
        EnvelopeFormatError: it is no envelope.
    """
    return read_unverified(layout.read_settings_file(root)).key_id


def resign_settings(
    settings: Settings, keyring: Keyring, *, accept: str | None = None
) -> SettingsSignature:
    """Give settings and head signatures of the newest keys; what they say stays.

    Args:
        settings: names the repository.
        keyring: the keys.
        accept: the repository's id. Needed where the present signer is revoked: whoever holds that
            key could have written these settings, so somebody has to say that they are genuine.

    Raises:
        RevokedKeyError: the signer is revoked, and ``accept`` was not given.
        RepositoryMismatchError: the id is different from ``accept`` or ``MODEL_REPO_ID``.
        VerificationError: the present signature is refused; ``accept`` does not change that.
        NoSigningKeyError: no active admin key is for this repository.
        RepositoryNotFoundError, RepositoryLayoutError, StorageError: the file cannot be used.
    """
    root = settings.path.absolute()
    data = layout.read_settings_file(root)
    old_key_id = read_unverified(data).key_id
    used = keyring
    try:
        identity = open_settings(data, keyring).document
    except RevokedKeyError:
        if accept is None:
            raise
        used = _as_if_active(keyring, old_key_id)
        identity = open_settings(data, used).document
    for expected in (accept, settings.repository_id):
        if expected not in (None, identity.repository):
            raise RepositoryMismatchError(
                "This is another repository than the one that was named; nothing was signed.",
                path=root,
                hint="check what is mounted at {path}.",
            )
    signer = used.signer(Role.ADMIN, identity.repository)
    if signer.key_id != old_key_id:
        action = "settings signed again" if used is keyring else "accepted though revoked"
        with Repository.open(root, keyring=used, settings=settings) as repository:
            repository.record_key_change(action, old_key_id, sign_settings=True)
    return SettingsSignature(identity, old_key_id, signer.key_id)


def _as_if_active(keyring: Keyring, key_id: str) -> Keyring:
    """The keyring with a revoked key as it was before, but that it signs nothing."""
    before = replace(keyring.get(key_id), state=State.ACTIVE, is_withheld=True)
    return Keyring.of([*(key for key in keyring if key.key_id != key_id), before])


# ── artifacts ────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class ResignReport:
    """What signing again did.

    Attributes:
        key_id: the key that signed.
        signed: how many artifacts have a new signature.
        findings: the artifacts that were refused, and keep the signature that they had.
    """

    key_id: str
    signed: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "ok": not self.findings,
            "keyId": self.key_id,
            "signed": self.signed,
            "findings": [finding.to_json() for finding in self.findings],
        }


def resign_all(
    repository: Repository,
    *,
    key_id: str | None = None,
    actor: str | None = None,
    progress: Progress = no_progress,
) -> ResignReport:
    """Sign every artifact of retired keys with the newest active key.

    Args:
        repository: which.
        key_id: only artifacts of this key, which may be active still; all retired keys by default.
        actor: who the caller says it is.
        progress: hears of the phase ``signatures`` (artifacts).

    Raises:
        UnknownKeyError: there is no such key.
        RevokedKeyError: the key is revoked: nobody can tell its owner's signatures from others'.
        NoSigningKeyError: no active key may sign here.
        CatalogueError, KeyringError: database or keyring failed; what was signed stays signed.
    """
    keyring = repository.keyring
    signer = keyring.signer(Role.STORE, repository.id)
    if key_id is None:
        old = [key.key_id for key in keyring if key.state is State.RETIRED]
    else:
        if keyring.get(key_id).state is State.REVOKED:
            raise RevokedKeyError(
                f"Key {key_id} is revoked: what it signed is refused, and cannot be signed again."
            )
        old = [key_id] if key_id != signer.key_id else []
    report = ResignReport(signer.key_id)
    conditions = [ListFilter(key_id=one) for one in old]
    total = sum(count_artifacts(repository.catalogue, wanted) for wanted in conditions)
    progress("signatures", 0, total)
    for wanted in conditions:
        for row in walk_rows(repository, wanted):
            _resign(repository, row, actor, report)
            done = report.signed + len(report.findings)
            progress("signatures", done, max(total, done))
    return report


def _resign(
    repository: Repository, row: ArtifactRow, actor: str | None, report: ResignReport
) -> None:
    try:
        repository.resign(request(row.name, row.tag, row.revision), actor=actor)
    except (CatalogueError, KeyringError):
        raise
    except SealstoreError as error:
        report.findings.append(Finding.of(error, claimed_ref(row)))
    else:
        report.signed += 1
