"""What an operator decides: where remembering begins, what replaces it, and that it ends."""

from __future__ import annotations

import os
from pathlib import Path

from sealstore.errors import KnownLocationError
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.trust.files import Folder, refused
from sealstore.trust.record import TrustRecord
from sealstore.trust.store import TrustStore


def is_known(store: TrustStore) -> bool:
    """Whether anything is remembered of the location, be it readable or not.

    Raises:
        TrustStateError: that cannot be seen.
    """
    with refused("read", store.path):
        try:
            os.lstat(store.path)
        except FileNotFoundError:
            return False
    return True


def require_unknown(store: TrustStore) -> None:
    """Return if nothing is remembered of the location, so that a repository may begin there.

    Raises:
        KnownLocationError: something is.
    """
    if is_known(store):
        raise KnownLocationError(
            "This client remembers a repository at this location.", path=store.path
        )


def begin(store: TrustStore, point: HistoryCheckpoint) -> TrustRecord:
    """Remember the first point of a location, whatever ``first_use`` says.

    It is that of a repository that this client made, or of a checkpoint that it was given.

    Raises:
        KnownLocationError: something is remembered already; nothing was written.
        TrustStateError: the file system refused.
    """
    with store.locked() as folder:
        require_unknown(store)
        return store.write(folder, TrustRecord.beginning(store.location, point))


def accept(store: TrustStore, point: HistoryCheckpoint) -> Path | None:
    """Remember ``point`` in place of whatever is remembered, as an operator says.

    The access logs and the newest time are forgotten: they belong to what is replaced.

    Returns:
        Where the file that was there is kept; None if there was none.

    Raises:
        TrustStateError: the file system refused, or the folder cannot be trusted.
    """
    with store.locked() as folder:
        kept = _keep_aside(folder, store.name)
        store.write(folder, TrustRecord.beginning(store.location, point))
        return kept


def forget(store: TrustStore) -> bool:
    """Remember nothing of the location: its next use is the first. Returns whether it did.

    Raises:
        TrustStateError: the file system refused, or the folder cannot be trusted.
    """
    if not is_known(store):
        return False
    with store.locked() as folder, refused("removed", store.path):
        try:
            os.unlink(store.name, dir_fd=folder.descriptor)
        except FileNotFoundError:
            return False
        os.fsync(folder.descriptor)
    return True


def _keep_aside(folder: Folder, name: str) -> Path | None:
    """Give what lies at ``name``, whatever it is, another name besides: the first that is free.

    Returns:
        The other name; None if nothing was there.

    Raises:
        TrustStateError: the file system refused; a folder has no second name.
    """
    with refused("kept", folder.path / name):
        number = 1
        while True:
            aside = f"{name}.replaced-{number}"
            try:
                # A link, unlike a renaming, leaves no moment in which nothing is remembered.
                os.link(
                    name,
                    aside,
                    src_dir_fd=folder.descriptor,
                    dst_dir_fd=folder.descriptor,
                    follow_symlinks=False,
                )
            except FileNotFoundError:
                return None
            except FileExistsError:
                number += 1
            else:
                return folder.path / aside
