"""What lies in the folders: payloads, the mirror of the envelopes, and what is neither."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sealstore.audit.contents import Contents
from sealstore.audit.findings import Finding
from sealstore.errors import (
    CatalogueTamperedError,
    InvalidNameError,
    SealstoreError,
    VerificationError,
)
from sealstore.files import OPEN_FOLDER
from sealstore.ledger.authenticated_map import positions_of, prove, revision_key
from sealstore.ledger.map_values import RevisionValue, decode_revision
from sealstore.names import ArtifactRef, Tag, request
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
    Note,
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


# ── the mirror ────────────────────────────────────────────────────────────────


_NAME: Final = re.compile(r"([1-9][0-9]{0,18})\.json(\.removed)?")
_JUST_STORED: Final = timedelta(minutes=1)
"""A store this young may still be about to write its mirror, after its commit."""
_MIRROR_HINT: Final = (
    "the artifact itself is sound, and its row has the envelope: move the file out of the"
    " repository, 'sealstore gc --delete' then writes the mirror anew; find out who wrote to it."
)
_MISSING: Final = (
    "the artifact itself is sound, and its row has the envelope: 'sealstore gc --delete' mirrors"
    " it. If no store was killed after its commit, find out who removed the mirror."
)


def mirrored_ref(found: FoundFile) -> tuple[ArtifactRef, bool] | None:
    """Whose mirrored statement a file is by its place, and whether it is put away."""
    match = _NAME.fullmatch(found.name)
    if match is None or not found.is_regular or len(found.folders) != 2:
        return None
    name, tag = found.folders
    try:
        Tag.to_store(tag)
        return request(name, tag, int(match[1])), match[2] is not None
    except InvalidNameError:
        return None


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
    _leftovers: list[str] = field(default_factory=list)
    _set_aside: list[str] = field(default_factory=list)
    _of_removed: list[str] = field(default_factory=list)

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
            answer = self.parts.catalogue.ask(ref, positions_of(_key(ref)))
            row = answer.artifact
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
        self._tell_notes()

    def _look_at(self, found: FoundFile, contents: Contents | None) -> None:
        path = f"{layout.STATEMENTS_FOLDER}/{found.path}"
        mirrored = mirrored_ref(found)
        if found.is_staging:
            self._leftovers.append(path)
        elif found.is_set_aside:
            self._set_aside.append(path)
        elif mirrored is None:
            self.report.add(Section.MIRROR, foreign_file(path))
        elif contents is not None:
            self._look_at_mirrored(path, *mirrored, contents)

    def _look_at_mirrored(
        self, path: str, ref: ArtifactRef, is_put_away: bool, contents: Contents
    ) -> None:
        if not self._belongs(ref, is_put_away, contents):
            self._tell_unknown(path, ref, is_put_away)
        elif not is_put_away and contents.find_removed(*_where(ref)) is not None:
            self._of_removed.append(path)

    def _belongs(self, ref: ArtifactRef, is_put_away: bool, contents: Contents) -> bool:
        removed = contents.find_removed(*_where(ref))
        if removed is not None:
            return self._is_statement(ref, removed.statement, put_away=is_put_away)
        stored = contents.find(*_where(ref))
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
        key = _key(ref)
        with self.parts.state.asking(remembering=False) as asking:
            answer = self.parts.catalogue.ask(ref, positions_of(key))
            try:
                state = asking.verify(answer.head)
                value = prove(bytes.fromhex(state.head.map_root), key, answer.map_rows)
                return None if value is None else decode_revision(value)
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
                " or another one.",
                "find out whether the catalogue is an older one than the mirror: an older backup"
                " may have been put in its place.",
            ),
        )

    def _tell_notes(self) -> None:
        for paths, what, hint in (
            (self._leftovers, "staging files of stores that did not end", "'sealstore gc'"),
            (
                self._set_aside,
                "files that were moved out of the way of a statement",
                "find out who wrote them; 'sealstore gc --set-aside' removes them",
            ),
            (
                self._of_removed,
                "mirrored statements of removed artifacts that are not put away yet",
                "'sealstore gc' puts them away",
            ),
        ):
            if paths:
                text = f"{len(paths)} {what}, such as {paths[0]}"
                self.report.notes.append(
                    Note(Section.MIRROR, text, hint, tuple(paths[:_MAX_PATHS]))
                )


def _key(ref: ArtifactRef) -> bytes:
    return revision_key(*_where(ref))


def _where(ref: ArtifactRef) -> tuple[str, str, int]:
    return ref.name, ref.tag, ref.revision or 0


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
