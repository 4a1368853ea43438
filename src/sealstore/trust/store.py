"""The trust state of one location: read at each load, and advanced, never set back.

One file for each location, replaced as a whole under a lock, so that processes that see different
heads at the same time end with the newest. What an operator decides stands in ``operating``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from sealstore import files, limits
from sealstore.errors import FirstUseError, TrustStateError
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.process_bound import ProcessBound
from sealstore.trust.files import Folder, opened
from sealstore.trust.record import (
    Prove,
    TrustRecord,
    advanced,
    advanced_access,
    decode_record,
    encode_record,
)

_TICK_NANOSECONDS: Final = 20_000_000
"""Two ticks of the coarsest kernel clock that file systems take their times from (100 a second)."""


class FirstUse(StrEnum):
    """What happens where nothing is remembered."""

    RECORD = "record"
    """the head that is shown is taken for what it says, and remembered"""
    REFUSE = "refuse"
    """nothing is loaded or stored until somebody gives this client a checkpoint"""


def folder_location(root: Path) -> str:
    """The location of a repository in a folder: its absolute path as a URL, in ASCII.

    Links are not followed: what is remembered is what was seen under the configured name, so that a
    link that is led elsewhere is an exchange like any other.
    """
    return Path(os.path.abspath(root)).as_uri()


_Changed = TypeVar("_Changed", bound=TrustRecord | None)


class TrustStore(ProcessBound):
    """What this client remembers of the repository at one location.

    Threads may share one. The order in which a load uses it::

        remembered = trust.expected()    # before the repository is asked for its head
        …                                # verify the head; it extends remembered.point
        trust.advance(point, prove=…)    # before the object is handed out

    A store does the last after its commit: a head that a power loss could take back must not be
    remembered. ``prove`` may read the repository while a lock of the trust state is held; so never
    advance within a transaction that writes.

    Args:
        folder: where the trust states are.
        location: of the repository: ``folder_location`` or another URL, without any password.
        outside: the repository's folder, which must not contain ``folder``.
        first_use: see ``FirstUse``.

    Attributes:
        name, path: of the file.
    """

    def __init__(
        self, folder: Path, location: str, *, outside: Path, first_use: FirstUse = FirstUse.RECORD
    ) -> None:
        self.folder = folder.absolute()
        self.location = location
        self.first_use = first_use
        self._outside = outside
        self.name = file_name(location)
        self.path = self.folder / self.name
        # A string: what is asked at each load should not have to be converted each time.
        self._path = os.fspath(self.path)
        # One value, replaced as a whole: a thread must not note a new file beside an old record.
        self._last: tuple[tuple[int, ...], TrustRecord] | None = None

    # ── reading ──────────────────────────────────────────────────────────────

    def read(self) -> TrustRecord | None:
        """What is remembered; None if nothing is.

        A file that has not changed since is not read again: this costs one ``lstat``.

        Raises:
            TrustStateError: the file or its folder cannot be trusted, or does not decode.
        """
        last = self._last
        try:
            identity = files.identity(os.lstat(self._path))
        except FileNotFoundError:
            return None
        except OSError:
            # What is wrong there is told where the file is opened.
            identity = ()
        if last is not None and last[0] == identity:
            return last[1]
        with opened(self.folder, self._outside) as folder:
            return self._read_from(folder)

    def expected(self) -> TrustRecord | None:
        """What is remembered; None at a first use that is allowed.

        Raises:
            FirstUseError: nothing is remembered, and that is not enough here.
            TrustStateError: as ``read``.
        """
        record = self.read()
        if record is None:
            self._require_first_use()
        return record

    # ── writing ──────────────────────────────────────────────────────────────

    def advance(
        self, point: HistoryCheckpoint, *, prove: Prove, now: datetime | None = None
    ) -> TrustRecord:
        """Remember ``point``, unless a newer point of the same history is remembered already.

        Nothing is taken on trust: where the two differ, one must be shown to extend the other. If
        they are the same, as at nearly every load, nothing is written or locked.

        Args:
            point: of a verified head that is synced in the repository.
            prove: gives the consistency proof between two sizes, the smaller first. Another process
                may have seen a newer head than ``point`` meanwhile, so the larger size can be
                beyond what the caller's snapshot of the repository holds.
            now: the time by this machine's clock, where ``require_fresh`` has used it.

        Returns:
            What is remembered now.

        Raises:
            FirstUseError: nothing is remembered, and that is not enough here.
            RepositoryExchangedError: another repository, or a rebuilt one, is remembered.
            LedgerTamperedError, RollbackError: neither of the points extends the other.
            TrustStateError: what is there cannot be trusted, or the file system refused.
        """

        def advance(record: TrustRecord | None) -> TrustRecord:
            if record is None:
                self._require_first_use()
                record = TrustRecord.beginning(self.location, point)
            return advanced(record, point, now, prove)

        remembered = self.read()
        if (
            remembered is not None
            and remembered.point == point
            and advance(remembered) is remembered
        ):
            return remembered
        return self._change(advance)

    def advance_access(
        self, log_location: str, point: AccessCheckpoint, *, prove: Prove
    ) -> TrustRecord | None:
        """Remember the point of an access log, unless a newer one is remembered already.

        To be called now and then, not for each entry: whenever the file changes, each process reads
        it again. An access log is remembered beside its repository only.

        Args:
            log_location: where the log is, as a URL without any password.
            point: of a verified head that is synced in the log.
            prove: see ``advance``.

        Returns:
            What is remembered now; None if nothing is of the repository, and nothing was written.

        Raises:
            RepositoryExchangedError: another log, or one of another repository.
            LedgerTamperedError, RollbackError: neither of the points extends the other.
            TrustStateError: what is there cannot be trusted, or the file system refused.
        """

        def advance(record: TrustRecord | None) -> TrustRecord | None:
            if record is None:
                return None
            return advanced_access(record, log_location, point, prove)

        remembered = self.read()
        if remembered is None or remembered.access.get(log_location) == point:
            return remembered
        return self._change(advance)

    def _change(self, change: Callable[[TrustRecord | None], _Changed]) -> _Changed:
        with self.locked() as folder:
            record = self._read_from(folder)
            changed = change(record)
            if changed is None or changed is record:
                return changed
            self.write(folder, changed)
            return changed

    def write(self, folder: Folder, record: TrustRecord) -> TrustRecord:
        """Remember ``record`` in place of what is remembered, in the folder that is locked.

        Raises:
            TrustStateError: the file system refused.
        """
        folder.write(self.name, encode_record(record))
        return record

    def _require_first_use(self) -> None:
        if self.first_use is FirstUse.REFUSE:
            raise FirstUseError("This client has not seen the repository before.", path=self.path)

    @contextmanager
    def locked(self) -> Iterator[Folder]:
        """Hold the lock under which the file is read, judged and replaced.

        Raises:
            TrustStateError: the folder cannot be trusted, or the file system refused.
        """
        with opened(self.folder, self._outside, create=True) as folder, folder.locked(self.name):
            yield folder

    def _read_from(self, folder: Folder) -> TrustRecord | None:
        found = folder.read(self.name, limits.MAX_TRUST_STATE_BYTES)
        if found is None:
            return None
        data, status = found
        try:
            record = decode_record(data, self.location)
        except TrustStateError as error:
            error.path = self._path
            raise
        # Within one tick two new files can have one inode, size and time: what is so young is read
        # again the next time.
        settled = time.time_ns() - status.st_ctime_ns > _TICK_NANOSECONDS
        self._last = (files.identity(status), record) if settled else None
        return record


def file_name(location: str) -> str:
    """The name of the file that remembers a location."""
    # A location that is no Unicode is refused where it would be written.
    return f"{sha256(location.encode(errors='surrogatepass')).hexdigest()}.json"
