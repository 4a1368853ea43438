"""Which payloads are needed, and which files are there that nothing needs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sealstore.audit.contents import Contents
from sealstore.audit.findings import Finding
from sealstore.errors import SealstoreError
from sealstore.names import ArtifactRef, request
from sealstore.repository.assembly import Parts
from sealstore.repository.progress import Progress
from sealstore.signed.envelope import read_unverified, statement_digest
from sealstore.signed.statement import decode
from sealstore.storage import layout
from sealstore.storage import mirror as mirror_files
from sealstore.storage.blobs import FileKind, StoredFile
from sealstore.storage.blobs.folder_walk import FoundFile
from sealstore.upkeep.collecting.report import Candidate, Garbage, GcReport
from sealstore.upkeep.fsck.mirror import mirrored_ref


class Needed:
    """Which payloads are needed, and since when the others are not.

    Args:
        contents: what the proven history leaves.

    Attributes:
        contents: the same.
        payloads: SHA-256 of every payload that something needs.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.payloads = contents.payloads()

    def left_at(self, sha256: str) -> float:
        """When the last artifact left a payload, seconds of the epoch; 0 where none ever had it."""
        at = self.contents.left_at.get(sha256)
        return 0.0 if at is None else datetime.fromisoformat(at).timestamp()


@dataclass(slots=True)
class Search:
    """The search for files that nothing needs.

    Attributes:
        parts: of the repository.
        report: where they are noted.
        needed: which payloads are needed.
        before: files that were touched later are left alone, seconds of the epoch.
        set_aside: whether files that were moved aside are looked for.
    """

    parts: Parts
    report: GcReport
    needed: Needed
    before: float
    set_aside: bool

    def look_at_mirror(self) -> None:
        """Find what mirrored statements need that no history knows, and what can go there.

        And of what is stored, what has no mirrored statement.
        """
        missing = dict(self.needed.contents.stored)
        for found in mirror_files.mirror_files(self.parts.root):
            path = f"{layout.STATEMENTS_FOLDER}/{found.path}"
            mirrored = mirrored_ref(found)
            if found.is_staging:
                self._note(Garbage.STAGING, path, None, found)
            elif mirrored is not None:
                self._look_at_mirrored(found, path, *mirrored)
                missing.pop(self._sequence(*mirrored), None)
            elif found.is_set_aside and not found.is_folder:
                with suppress(SealstoreError):
                    self._keep_payload_of(mirror_files.read_mirror_file(self.parts.root, found))
                if self.set_aside:
                    self._note(Garbage.SET_ASIDE, path, None, found)

        self.report.missing_mirrors += [
            request(artifact.name, artifact.tag, artifact.revision) for artifact in missing.values()
        ]

    def _sequence(self, ref: ArtifactRef, is_put_away: bool) -> int:
        """The place in the history of what is stored, and mirrored by a file; 0 if none is."""
        stored = self.needed.contents.find(str(ref.name), str(ref.tag), ref.revision or 0)
        return 0 if stored is None or is_put_away else stored[0]

    def _look_at_mirrored(
        self, found: FoundFile, path: str, ref: ArtifactRef, is_put_away: bool
    ) -> None:
        contents, where = self.needed.contents, (str(ref.name), str(ref.tag), ref.revision or 0)
        stored, removed = contents.find(*where), contents.find_removed(*where)
        try:
            data = mirror_files.read_mirror_file(self.parts.root, found)
            if data is None:
                return
            if removed is None or statement_digest(data) != removed.statement:
                self._keep_payload_of(data)
            elif not is_put_away:
                self.report.unneeded_mirrors.append(ref)
        except SealstoreError as error:
            # Of what is stored, the history knows the payload; fsck tells of the mirror.
            if stored is None:
                self.report.findings.append(_unreadable(path, ref, error))

    def _keep_payload_of(self, data: bytes | None) -> None:
        """Keep the payload that a statement names.

        Nobody need believe it: all that it can do is to keep a file. It may be all that is left of
        an artifact, where the catalogue is older than the mirror.

        Raises:
            VerificationError: it is no statement.
        """
        if data is not None:
            statement = decode(read_unverified(data).payload)
            self.needed.payloads.add(statement.digests.sha256)

    def look_at_payloads(self, progress: Progress) -> None:
        """Find payloads that nothing needs, and other files that can go."""
        kinds = {FileKind.STAGING: Garbage.STAGING, FileKind.PAYLOAD: Garbage.PAYLOAD}
        if self.set_aside:
            kinds[FileKind.SET_ASIDE] = Garbage.SET_ASIDE
        total = len(self.needed.payloads)
        for done, file in enumerate(self.parts.blobs.files()):
            kind = kinds.get(file.kind)
            is_needed = file.kind is FileKind.PAYLOAD and file.found.name in self.needed.payloads
            if kind is not None and not is_needed and not file.found.is_folder:
                self._note(kind, f"objects/{file.found.path}", file, file.found)
            if done % 1_000 == 0:
                progress("files", done, max(done, total))

    def _note(self, kind: Garbage, path: str, file: StoredFile | None, found: FoundFile) -> None:
        since = found.changed
        if kind is Garbage.PAYLOAD:
            since = max(since, self.needed.left_at(found.name))
        candidate = Candidate(kind, path, found.status.st_size, since, file, found)
        is_old = since < self.before
        (self.report.candidates if is_old else self.report.young).append(candidate)


def _unreadable(path: str, ref: ArtifactRef, error: SealstoreError) -> Finding:
    return Finding(
        str(ref),
        error.code,
        f"{path}, of which the history knows nothing, cannot be read as a statement, so that the"
        f" payload that it may need is not known: {error.message}",
        "find out who wrote it, then move it out of the repository.",
    )
