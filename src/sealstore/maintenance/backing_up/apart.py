"""A snapshot looked at where it lies, apart from what this client remembers of its place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sealstore.assembly import open_parts
from sealstore.keys import Keyring
from sealstore.repository import Repository
from sealstore.settings import Settings
from sealstore.trust import FirstUse


@contextmanager
def apart(settings: Settings, place: Path) -> Iterator[Settings]:
    """Settings of a client that has seen nothing yet, for a snapshot in ``place``."""
    with tempfile.TemporaryDirectory(prefix="sealstore-snapshot-") as memory:
        yield replace(
            settings,
            path=place,
            trust_folder=Path(memory),
            first_use=FirstUse.RECORD,
            max_age=None,
            access_log_url=None,
        )


@contextmanager
def opened_apart(settings: Settings, place: Path, keyring: Keyring) -> Iterator[Repository]:
    """The repository that a snapshot is, opened by such a client.

    Raises:
        SealstoreError: it cannot be opened, or is refused.
    """
    with apart(settings, place) as here, Repository(open_parts(place, here, keyring)) as opened:
        yield opened
