"""Giving artifacts of retired keys a signature of today's; payloads and statements stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sealstore.audit.finding import Finding, claimed_ref
from sealstore.audit.walk import walk_rows
from sealstore.errors import CatalogueError, KeyringError, RevokedKeyError, SealstoreError
from sealstore.keys.keyring import Role, State
from sealstore.names import request
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.storage.catalogue import ArtifactRow, ListFilter


@dataclass(slots=True)
class ResignReport:
    """What signing anew did.

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
                f"Key {key_id} is revoked, and what it signed is refused: nothing to sign anew."
            )
        old = [key_id] if key_id != signer.key_id else []
    report = ResignReport(signer.key_id)
    conditions = [ListFilter(key_id=one) for one in old]
    total = sum(repository.catalogue.count(wanted) for wanted in conditions)
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
