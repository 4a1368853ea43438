"""What lies in the folders: payloads, the mirror of the envelopes, and what is neither."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sealstore import files
from sealstore.audit.contents import Contents
from sealstore.audit.findings import Finding
from sealstore.errors import (
    CatalogueTamperedError,
    SealstoreError,
    VerificationError,
)
from sealstore.ledger.authenticated_map import positions_of, revision_key
from sealstore.ledger.map_values import RevisionValue
from sealstore.names import ArtifactRef
from sealstore.repository.access_log.place import ACCESS_FILE
from sealstore.repository.assembly import LOCK_FILE, Parts
from sealstore.repository.progress import Progress
from sealstore.signed.envelope import open_statement, statement_digest
from sealstore.storage import layout
from sealstore.storage import mirror as mirror_files
from sealstore.storage.blobs.contract import BlobStore, FileKind, StoredFile
from sealstore.storage.blobs.folder_walk import FoundFile, walk
from sealstore.storage.blobs.local_files import PAYLOAD_MODE
from sealstore.storage.catalogue.sqlite import SQLITE_FILE
from sealstore.upkeep.fsck.report import (
    FOREIGN_FILE,
    MIRROR,
    PERMISSIONS,
    UNKNOWN_STATEMENT,
    FsckReport,
    Section,
)

# ── the folder and the payloads ───────────────────────────────────────────────


_OWN_FILES: Final = frozenset(
    {layout.REPOSITORY_FILE, LOCK_FILE}
    | {
        f"{file}{suffix}"
        for file in (SQLITE_FILE, ACCESS_FILE)
        for suffix in ("", "-wal", "-shm", "-journal", ".lock")
    }
)
_OWN_FOLDERS: Final = frozenset({"objects", layout.STATEMENTS_FOLDER, layout.ORIGINS_FOLDER})
_ORPHANS: Final = (
    "payloads that nothing needs",
    "'sealstore gc' shows them, and removes them with --delete",
)
_LEFT: Final = {
    FileKind.STAGING: (
        "staging files of stores that have not ended",
        "'sealstore gc' removes them once they are old",
    ),
    FileKind.SET_ASIDE: (
        "files with wrong bytes that were moved aside",
        "find out who wrote them; 'sealstore gc --set-aside' removes them",
    ),
}


def check_place(root: str | os.PathLike[str], report: FsckReport) -> None:
    """The repository's folder and what lies directly in it.

    Raises:
        OSError: it cannot be listed.
    """
    status = os.stat(root)
    if status.st_mode & 0o002 and not status.st_mode & stat.S_ISVTX:
        report.add(Section.FILES, writable_by_all("the repository's folder"))
    with files.opened_folder(root) as folder:
        for found in walk(folder, 0):
            report.files += 1
            if found.is_staging:
                what = "staging files of settings that were not written to their end"
                report.note(Section.FILES, what, "remove them", found.path)
            is_right = found.is_folder if found.name in _OWN_FOLDERS else found.is_regular
            # Others than its own are the operator's: notes, or what the file system puts there.
            if found.name not in _OWN_FILES | _OWN_FOLDERS:
                continue
            if not is_right:
                report.add(Section.FILES, foreign_file(found.path))
            elif found.permissions & 0o002:
                report.add(Section.FILES, writable_by_all(found.path))


def check_payload_files(
    blobs: BlobStore, report: FsckReport, needed: set[str] | None, progress: Progress
) -> None:
    """What lies among the payloads.

    Args:
        blobs: the payloads.
        report: where to say what is wrong.
        needed: SHA-256 of every payload that something needs; None where that is not known.
        progress: hears of the phase ``files``, in payloads.

    Raises:
        StorageError: a folder cannot be listed.
    """
    total = 0 if needed is None else len(needed)
    done = 0
    for file in blobs.files():
        report.files += 1
        done += file.kind is FileKind.PAYLOAD
        _look_at_payload(file, report, needed)
        if done % 1_000 == 0:
            progress("files", done, max(total, done))


def _look_at_payload(file: StoredFile, report: FsckReport, needed: set[str] | None) -> None:
    found, path = file.found, f"objects/{file.found.path}"
    if file.kind in _LEFT:
        report.note(Section.FILES, *_LEFT[file.kind], path)
    elif file.kind is FileKind.FOREIGN:
        report.add(Section.FILES, foreign_file(path))
    elif file.kind is FileKind.FOLDER:
        if found.permissions & 0o002:
            report.add(Section.FILES, writable_by_all(path))
    else:
        if found.permissions & ~PAYLOAD_MODE:
            report.add(Section.FILES, _wrong_mode(path, found.permissions))
        if needed is not None and found.name not in needed:
            report.note(Section.FILES, *_ORPHANS, path, found.status.st_size)


def _wrong_mode(path: str, mode: int) -> Finding:
    return Finding(
        None,
        PERMISSIONS,
        f"{path} has the mode {mode:04o}; a payload has {PAYLOAD_MODE:04o}.",
        "find out who changed it, then chmod 0440 it.",
    )


# ── the mirror ────────────────────────────────────────────────────────────────


_JUST_STORED: Final = timedelta(minutes=1)
"""A store this young may still be about to write its mirror, after its commit."""
_MIRROR_HINT: Final = (
    "the artifact itself is sound, and its row has the envelope: move the file out of the"
    " repository, 'sealstore gc --delete' then writes the mirror again; find out who wrote to it."
)
_MISSING: Final = (
    "the artifact itself is sound, and its row has the envelope: 'sealstore gc --delete' mirrors"
    " it. If no store was killed after its commit, find out who removed the mirror."
)


@dataclass(slots=True)
class MirrorCheck:
    """The mirror, against the catalogue's rows and the history.

    Args:
        parts: of the repository.
        report: where to say what is wrong.
    """

    parts: Parts
    report: FsckReport
    _suspects: list[ArtifactRef] = field(default_factory=list)
    _rowless: set[ArtifactRef] = field(default_factory=set)

    def compare(self, ref: ArtifactRef, envelope: bytes) -> None:
        """Hold a mirrored envelope against its row's, which is genuine."""
        try:
            is_same = mirror_files.read_mirror(self.parts.root, ref) == envelope
        except SealstoreError:
            is_same = False
        if not is_same:
            # Another look is taken later: it may be written, or removed, in this very moment.
            self._suspects.append(ref)

    def expect(self, ref: ArtifactRef) -> None:
        """An artifact has no genuine row that its mirrored envelope could be held against."""
        self._rowless.add(ref)

    # ── what is suspect ──────────────────────────────────────────────────────

    def look_again(self) -> None:
        """Tell of the mirrored envelopes that are still not their rows' own."""
        for ref in self._suspects:
            key = revision_key(ref.name, ref.tag, ref.revision or 0)
            row = self.parts.catalogue.ask(ref, positions_of(key)).artifact
            if row is None:
                # Removed since; or its row was, which the next check says.
                continue
            try:
                found = mirror_files.read_mirror(self.parts.root, ref)
            except SealstoreError as error:
                self.report.add(
                    Section.MIRROR, Finding(str(ref), MIRROR, error.message, _MIRROR_HINT)
                )
                continue
            if found == row.envelope:
                continue
            if found is not None:
                text = "Its mirrored statement is not the one that the catalogue has."
            elif _is_young(row.created):
                continue
            else:
                text = "Its mirrored statement is missing."
            hint = _MIRROR_HINT if found is not None else _MISSING
            self.report.add(Section.MIRROR, Finding(str(ref), MIRROR, text, hint))

    # ── what lies there ──────────────────────────────────────────────────────

    def walk(self, contents: Contents | None) -> None:
        """Look at everything in the mirror's folder.

        Args:
            contents: what the history leaves; None where that is not proven.

        Raises:
            StorageError: a folder cannot be listed.
        """
        for found in mirror_files.mirror_files(self.parts.root):
            self.report.files += 1
            if found.permissions & 0o002 and (found.is_folder or found.is_regular):
                self.report.add(
                    Section.MIRROR, writable_by_all(f"{layout.STATEMENTS_FOLDER}/{found.path}")
                )
            if found.is_folder and len(found.folders) < 2:
                continue
            self._look_at(found, contents)

    def _look_at(self, found: FoundFile, contents: Contents | None) -> None:
        path = f"{layout.STATEMENTS_FOLDER}/{found.path}"
        mirrored = mirror_files.mirrored_ref(found)
        if found.is_staging:
            what = "staging files of stores that did not end"
            self.report.note(Section.MIRROR, what, "'sealstore gc' removes them", path)
        elif found.is_set_aside:
            what = "files that were moved out of the way of a statement"
            hint = "find out who wrote them; 'sealstore gc --set-aside' removes them"
            self.report.note(Section.MIRROR, what, hint, path)
        elif mirrored is None:
            self.report.add(Section.MIRROR, foreign_file(path))
        elif contents is not None:
            self._look_at_mirrored(path, *mirrored, contents)

    def _look_at_mirrored(
        self, path: str, ref: ArtifactRef, is_put_away: bool, contents: Contents
    ) -> None:
        if not self._belongs(ref, is_put_away, contents):
            self._tell_unknown(path, ref, is_put_away)
        elif not is_put_away and contents.find_removed(ref) is not None:
            what = "mirrored statements of removed artifacts that are not put away yet"
            self.report.note(Section.MIRROR, what, "'sealstore gc' puts them away", path)

    def _belongs(self, ref: ArtifactRef, is_put_away: bool, contents: Contents) -> bool:
        removed = contents.find_removed(ref)
        if removed is not None:
            return self._is_statement(ref, removed.statement, put_away=is_put_away)
        stored = contents.find(ref)
        if stored is None or is_put_away:
            # Stored or removed since the snapshot: the map as it is now knows it.
            now = self._value_now(ref)
            if now is None or (is_put_away and now.state != "removed"):
                return False
            return self._is_statement(ref, now.statement, put_away=is_put_away)
        # The others are held against their rows.
        return ref not in self._rowless or self._is_statement(ref, stored[1].statement)

    def _is_statement(self, ref: ArtifactRef, digest: str, *, put_away: bool = False) -> bool:
        try:
            data = mirror_files.read_mirror(self.parts.root, ref, put_away=put_away)
            return data is not None and statement_digest(data) == digest
        except SealstoreError:
            return False

    def _value_now(self, ref: ArtifactRef) -> RevisionValue | None:
        """What the map says of it now."""
        try:
            with self.parts.snapshot(remembering=False) as snapshot:
                return snapshot.answers.revision(ref.name, ref.tag, ref.revision or 0)
        except (VerificationError, CatalogueTamperedError):
            return None

    def _tell_unknown(self, path: str, ref: ArtifactRef, is_put_away: bool) -> None:
        try:
            data = mirror_files.read_mirror(self.parts.root, ref, put_away=is_put_away)
            if data is None:
                # It went away since it was listed.
                return
            verified = open_statement(data, self.parts.keyring)
        except SealstoreError:
            self.report.add(Section.MIRROR, foreign_file(path))
            return
        about = verified.statement.ref
        self.report.add(
            Section.MIRROR,
            Finding(
                str(about),
                UNKNOWN_STATEMENT,
                f"A genuine statement of it lies at {path}, where the signed history knows none,"
                " or a different one.",
                "find out whether the catalogue is an older one than the mirror: an older backup"
                " may have been put in its place.",
            ),
        )


def foreign_file(path: str) -> Finding:
    """Something that sealstore did not put there."""
    return Finding(
        None,
        FOREIGN_FILE,
        f"{path} is nothing that sealstore put there.",
        "find out who put it there, then remove it.",
    )


def writable_by_all(path: str) -> Finding:
    """A file or folder that everybody may write to."""
    return Finding(
        None,
        PERMISSIONS,
        f"{path} can be written by everybody: they can destroy, though not forge.",
        "chmod o-w it.",
    )


def _is_young(created: object) -> bool:
    try:
        stored = datetime.fromisoformat(str(created))
    except ValueError:
        return False
    return datetime.now(UTC) - stored < _JUST_STORED
