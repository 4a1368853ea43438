"""Rebuilding: a new catalogue from what is signed, where the old one is lost or damaged.

What is left is read and verified (``sources``), what becomes of it is decided (``planning``), and
the new catalogue is built beside the old one and takes its place as a whole (``writing``). The new
history keeps every place of the old one: entries that are proven stay as they are, stores that are
known from their statements alone are entries again, and what is unknown is an entry ``lost``. So no
number is ever given out twice. It is of the next epoch, which settings begin that an admin signs;
every client refuses it until its operator accepts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealstore.audit.chains import ChainName
from sealstore.audit.findings import Finding, Findings
from sealstore.audit.replaying import Replay
from sealstore.errors import RebuildRefusedError, SealstoreError
from sealstore.repository import environment
from sealstore.repository.assembly import LOCK_FILE
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings
from sealstore.storage import creation, layout
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.sqlite import writers_queue
from sealstore.upkeep.rebuild.plan import Plan, RebuildReport, plan
from sealstore.upkeep.rebuild.sources import OldCatalogue, Sources, gather, old_catalogue
from sealstore.upkeep.rebuild.write import Work, write


def rebuild(
    settings: Settings,
    *,
    do_write: bool = False,
    export: Path | None = None,
    checkpoint: Path | None = None,
    epoch: int | None = None,
    accept_retired: bool = False,
    force: bool = False,
    actor: str | None = None,
    progress: Progress = no_progress,
) -> RebuildReport:
    """Say what can be recovered of a repository whose catalogue is lost, and recover it.

    Args:
        settings: name the repository, its keys and this client's memory.
        do_write: whether the new catalogue is put in the place of the old one.
        export: a file of ``sealstore audit export``, newer than what is left of the catalogue.
        checkpoint: a file of ``sealstore audit checkpoint``: the last state that is known.
        epoch: the new epoch, at least 2; only where nothing here remembers the repository.
        accept_retired: whether statements of retired keys are taken, too, where nothing proves that
            they were on record before.
        force: whether a catalogue with which nothing is wrong is replaced, too.
        actor: who the caller says it is.
        progress: hears of the phases ``history``, ``statements``, ``payloads`` and ``entries``.

    Raises:
        RebuildRefusedError: the catalogue is sound; or nothing remembers the repository; or signed
            statements contradict each other.
        RollbackError, LedgerTamperedError: settings, history and what is remembered do not fit.
        VerificationError: the settings, the export or the checkpoint are refused.
        NoSigningKeyError: no active key has the role admin, or store, here; nothing was changed.
        CatalogueError, StorageError: database or file system refused; nothing was changed.
    """
    notes: list[str] = []
    # From before anything is read: what others store after that would be lost.
    with _turn(settings, do_write), old_catalogue(settings, notes) as old:
        found = gather(settings, old, export=export, checkpoint=checkpoint, progress=progress)
        report = _begun(found, notes, epoch)
        decided = plan(found, old, report, accept_retired=accept_retired)
        if old is not None and not force and _is_sound(found, old, report):
            if do_write:
                # A rebuild may have died between the catalogue and the file.
                _show_settings(settings, found)
            raise RebuildRefusedError(
                "The catalogue is sound: there is nothing to rebuild.",
                hint="'sealstore fsck' checks everything else; --force rebuilds nevertheless.",
            )
        for path, error in found.refused:
            report.lost.append(Finding(None, error.code, f"{path}: {error.message}", error.hint))
        _check_payloads(settings, decided, report, progress)
        if do_write:
            who = environment.stored_by(actor)
            write(Work(settings, found, old, decided, report, who, progress))
    return report


@contextmanager
def _turn(settings: Settings, do_write: bool) -> Iterator[None]:
    root = settings.path.absolute()
    queue = root / LOCK_FILE if do_write and settings.database_url is None else None
    layout.read_settings_file(root)
    with (
        catalogue_errors("The catalogue cannot be made anew", reading=False),
        writers_queue(queue, "the catalogue"),
    ):
        yield


def _begun(found: Sources, notes: list[str], epoch: int | None) -> RebuildReport:
    last = found.last_known()
    document = found.settings.document
    if last is None and (epoch is None or epoch <= document.epoch):
        raise RebuildRefusedError(
            "Nothing here remembers the repository, so that its next epoch is not known.",
            hint="give the newest checkpoint that was kept (--checkpoint FILE), or an export"
            " (--history FILE); where there is none, --epoch N: 2, or one more than the clients'"
            " 'sealstore trust show' says.",
        )
    following = (epoch or 0) if last is None else last.epoch + 1
    report = RebuildReport(document.repository, following, document.version, last)
    report.notes += notes + found.notes
    if not found.history.entries:
        report.notes.append(
            "Nothing is left of the history: what was removed is known from the names of mirrored"
            " statements only, and from the old catalogue's map where it is proven."
        )
    return report


def _show_settings(settings: Settings, found: Sources) -> None:
    root, envelope = settings.path.absolute(), found.settings.envelope
    if layout.read_settings_file(root) != envelope:
        creation.place_settings(root, envelope)


def _is_sound(found: Sources, old: OldCatalogue, report: RebuildReport) -> bool:
    """Whether nothing is wrong with the old catalogue's history, map and rows."""
    head = old.head
    if head is None or len(found.history.entries) != head.size or report.lost:
        return False
    last = report.last_known
    if last is None or (last.size, last.root, last.epoch) != (head.size, head.root, head.epoch):
        return False
    replay, findings = Replay(), Findings(ChainName.HISTORY)
    stored: set[tuple[object, object]] = set()
    for entry in found.history.entries:
        replay.hear(entry)
        if entry.artifact is not None:
            claim = (entry.sequence, entry.artifact.statement)
            if entry.event == "store":
                stored.add(claim)
    try:
        claims = {(sequence, digest) for sequence, digest, _ in old.rows.claims()}
        replay.compare(bytes.fromhex(head.map_root), old.rows.map, findings)
        settings_held = old.rows.map.settings(head.settings_version) is not None
    except SealstoreError:
        return False
    removed = {str(ref) for ref in report.removed}
    kept = {claim for claim in claims if claim in stored}
    return (
        settings_held
        and not findings.count
        and len(kept) == len(claims)
        and len(kept) == len(stored) - len(removed)
    )


def _check_payloads(
    settings: Settings, decided: Plan, report: RebuildReport, progress: Progress
) -> None:
    """Say which payloads are not there; their statements are recovered nevertheless."""
    blobs = LocalBlobStore(settings.path.absolute())
    checked: dict[str, SealstoreError | None] = {}
    total = len(decided.kept)
    for done, candidate in enumerate(decided.kept.values(), start=1):
        statement = candidate.verified.statement
        digest = statement.digests.sha256
        if digest not in checked:
            try:
                blobs.check(statement.digests, statement.predicate.size)
                checked[digest] = None
            except SealstoreError as error:
                checked[digest] = error
        error_found = checked[digest]
        if error_found is not None:
            report.lost.append(
                Finding(
                    str(candidate.ref),
                    error_found.code,
                    f"Its statement is recovered, its payload is not: {error_found.message}",
                    "restore the payload from a backup: loads are refused until then.",
                )
            )
        progress("payloads", done, total)
