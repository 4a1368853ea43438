"""A snapshot looked at where it lies, apart from what this client remembers of its place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sealstore.errors import RevokedKeyError
from sealstore.keys.keyring import Keyring
from sealstore.repository.assembly import open_parts
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.trust.store import FirstUse
from sealstore.upkeep.fsck import FsckReport, Section
from sealstore.upkeep.fsck.report import PERMISSIONS


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


def refusal(report: FsckReport) -> tuple[str, str] | None:
    """What stands against a snapshot, and its code; None where it is sound.

    An artifact that a revoked key signed stays refused, wherever it is. A head or settings that one
    signed prove nothing at all. Modes are set anew when a snapshot is restored.
    """
    count, first = report.but_for(_is_harmless)
    if not count:
        return None
    if first is None:
        return f"{count} findings.", ""
    about = f"{first.artifact}: " if first.artifact else ""
    more = f" And {count - 1} more." if count > 1 else ""
    return f"{about}{first.message} [{first.code}]{more}", first.code


def _is_harmless(section: Section, code: str) -> bool:
    if code == PERMISSIONS:
        return True
    return section is not Section.HEAD and code == RevokedKeyError.code
