"""The auditor's report: the ledger verified, counted, and drawn."""

from __future__ import annotations

from pathlib import Path

from sealstore.audit.figures import Figures
from sealstore.audit.files import new_file
from sealstore.audit.page import page
from sealstore.audit.verifying import AuditReport, verify_ledger
from sealstore.repository import environment
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings


def write_report(
    settings: Settings,
    path: Path,
    *,
    since: str | None = None,
    until: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> AuditReport:
    """Verify the whole ledger, and write a page of what it says.

    Args:
        settings: name the repository and the keys.
        path: the HTML file.
        since, until: UTC times, or beginnings of one, between which entries are counted; all of
            them are verified.
        force: whether the file may replace one that is there.
        progress: as for ``verify_ledger``.

    Raises:
        StorageError: the file is there already, or the file system refused.
        SealstoreError: as ``verify_ledger``.
    """
    figures = Figures(since, until)
    with new_file(path, force=force) as file:
        report = verify_ledger(settings, hear=figures.hear, progress=progress)
        file.write(page(_repository(settings, report), report, figures, environment.now()))
    return report


def _repository(settings: Settings, report: AuditReport) -> str:
    for chain in report.chains:
        if chain.head is not None:
            return chain.head.repository
    return settings.repository_id or "unknown"
