"""Files and folders of the repository: what they are, and who may write to them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Final

from sealstore.audit.findings import Finding
from sealstore.files import OPEN_FOLDER
from sealstore.repository.access_log.place import ACCESS_FILE
from sealstore.repository.assembly import LOCK_FILE
from sealstore.repository.progress import Progress
from sealstore.storage import layout
from sealstore.storage.blobs import BlobStore, FileKind, StoredFile
from sealstore.storage.blobs.folder_walk import walk
from sealstore.storage.blobs.local_files import PAYLOAD_MODE
from sealstore.storage.catalogue.engine import SQLITE_FILE
from sealstore.upkeep.fsck.mirror import foreign_file, writable_by_all
from sealstore.upkeep.fsck.report import PERMISSIONS, FsckReport, Note, Section

_OWN_FILES: Final = frozenset(
    {layout.REPOSITORY_FILE, LOCK_FILE}
    | {
        f"{file}{suffix}"
        for file in (SQLITE_FILE, ACCESS_FILE)
        for suffix in ("", "-wal", "-shm", "-journal", ".lock")
    }
)
_OWN_FOLDERS: Final = frozenset({"objects", layout.STATEMENTS_FOLDER, layout.ORIGINS_FOLDER})
_MAX_PATHS: Final = 100


def check_place(root: str | os.PathLike[str], report: FsckReport) -> None:
    """The repository's folder and what lies directly in it.

    Raises:
        OSError: it cannot be listed.
    """
    status = os.stat(root)
    if status.st_mode & 0o002 and not status.st_mode & stat.S_ISVTX:
        report.add(Section.FILES, writable_by_all("the repository's folder"))
    folder = os.open(root, OPEN_FOLDER & ~os.O_NOFOLLOW)
    leftovers = []
    try:
        for found in walk(folder, 0):
            report.files += 1
            if found.is_staging:
                leftovers.append(found.path)
            is_right = found.is_folder if found.name in _OWN_FOLDERS else found.is_regular
            # Others than its own are the operator's: notes, or what the file system puts there.
            if found.name not in _OWN_FILES | _OWN_FOLDERS:
                continue
            if not is_right:
                report.add(Section.FILES, foreign_file(found.path))
            elif found.permissions & 0o002:
                report.add(Section.FILES, writable_by_all(found.path))
    finally:
        os.close(folder)
    if leftovers:
        text = f"{len(leftovers)} staging files of settings that were not written to their end"
        report.notes.append(Note(Section.FILES, text, "remove them", tuple(leftovers)))


@dataclass(slots=True)
class PayloadFiles:
    """What lies among the payloads.

    Args:
        blobs: the payloads.
        report: where to say what is wrong.
        needed: SHA-256 of every payload that something needs; None where that is not known.
    """

    blobs: BlobStore
    report: FsckReport
    needed: set[str] | None
    _orphans: list[str] = field(default_factory=list)
    _orphan_bytes: int = 0
    _leftovers: list[str] = field(default_factory=list)
    _set_aside: list[str] = field(default_factory=list)

    def run(self, progress: Progress) -> None:
        """Look at everything.

        Raises:
            StorageError: a folder cannot be listed.
        """
        total = 0 if self.needed is None else len(self.needed)
        done = 0
        for file in self.blobs.files():
            self.report.files += 1
            done += file.kind is FileKind.PAYLOAD
            self._look_at(file)
            if done % 1_000 == 0:
                progress("files", done, max(total, done))
        self._tell_notes()

    def _look_at(self, file: StoredFile) -> None:
        found, path = file.found, f"objects/{file.found.path}"
        if file.kind is FileKind.FOREIGN:
            self.report.add(Section.FILES, foreign_file(path))
        elif file.kind is FileKind.STAGING:
            self._leftovers.append(path)
        elif file.kind is FileKind.SET_ASIDE:
            self._set_aside.append(path)
        elif file.kind is FileKind.FOLDER:
            if found.permissions & 0o002:
                self.report.add(Section.FILES, writable_by_all(path))
        else:
            if found.permissions & ~PAYLOAD_MODE:
                self.report.add(Section.FILES, _wrong_mode(path, found.permissions))
            if self.needed is not None and found.name not in self.needed:
                self._orphans.append(path)
                self._orphan_bytes += found.status.st_size

    def _tell_notes(self) -> None:
        for paths, text, hint in (
            (
                self._orphans,
                f"{len(self._orphans)} payloads that nothing needs ({self._orphan_bytes} bytes)",
                "'sealstore gc' shows them, and removes them with --delete",
            ),
            (
                self._leftovers,
                f"{len(self._leftovers)} staging files of stores that have not ended",
                "'sealstore gc' removes them once they are old",
            ),
            (
                self._set_aside,
                f"{len(self._set_aside)} files with wrong bytes that were moved aside",
                "find out who wrote them; 'sealstore gc --set-aside' removes them",
            ),
        ):
            if paths:
                shown = tuple(paths[:_MAX_PATHS])
                self.report.notes.append(
                    Note(Section.FILES, f"{text}, such as {paths[0]}", hint, shown)
                )


def _wrong_mode(path: str, mode: int) -> Finding:
    return Finding(
        None,
        PERMISSIONS,
        f"{path} has the mode {mode:04o}; a payload has {PAYLOAD_MODE:04o}.",
        "find out who changed it, then chmod 0440 it.",
    )
