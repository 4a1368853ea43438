"""Repositories whose catalogue is lost, and what an operator does then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sealstore.audit.chains import ChainName, open_ledger
from sealstore.audit.documents import make_checkpoint
from sealstore.audit.exporting import export_chain
from sealstore.audit.verifying import verify_ledger
from sealstore.keys.keyring import Key, Keyring
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.trust import operating
from sealstore.upkeep.fsck import fsck
from sealstore.upkeep.fsck.report import FsckReport
from sealstore.upkeep.rebuild import rebuild
from sealstore.upkeep.rebuild.plan import RebuildReport
from sealstore.upkeep.trust import accept_trust, current_point
from tests.sealstore_fixtures import REPOSITORY_ID, hmac_key


class Ruins:
    """A repository, its keys and its client's memory in one folder.

    Args:
        place: an empty folder.
        keys: of the keyring; the first HMAC key by default.
    """

    def __init__(self, place: Path, *keys: Key) -> None:
        self.place = place
        self.root = place / "repository"
        self.settings = replace(
            Settings.from_environment({}),
            path=self.root,
            keyring_path=place / "keys" / "keyring.json",
            trust_folder=place / "trust",
        )
        if keys or not self.root.exists():
            self.set_keys(*(keys or (hmac_key(),)))
        if not self.root.exists():
            Repository.create(
                self.root, repository_id=REPOSITORY_ID, settings=self.settings
            ).close()

    def set_keys(self, *keys: Key) -> None:
        """Let these be the keys."""
        self.settings.keyring_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_keyring_file(self.settings.keyring_path, Keyring.of(keys))

    def open(self) -> Repository:
        """The repository."""
        return Repository.open(settings=self.settings)

    def store(self, obj: object, name: str, tag: str) -> None:
        """Store an object."""
        with self.open() as repository:
            repository.store(obj, name, tag)

    def remove(self, name: str, tag: str) -> None:
        """Remove a tag."""
        with self.open() as repository:
            repository.remove(name, tag)

    @property
    def database(self) -> Path:
        """The catalogue's file."""
        return self.root / "catalogue.sqlite3"

    def mirrored(self, name: str, tag: str, revision: int = 1) -> Path:
        """Where a statement is mirrored."""
        return self.root / "statements" / name / tag / f"{revision}.json"

    def export(self, name: str = "history.export") -> Path:
        """Export the history."""
        path = self.place / name
        with open_ledger(self.settings) as ledger:
            export_chain(ledger, ChainName.HISTORY, path)
        return path

    def checkpoint(self, name: str = "a.checkpoint") -> Path:
        """Keep a checkpoint."""
        path = self.place / name
        with open_ledger(self.settings) as ledger:
            path.write_bytes(make_checkpoint(ledger, ChainName.HISTORY).note)
        return path

    def lose(self) -> None:
        """Lose the catalogue."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)

    def forget(self) -> None:
        """Let this client remember nothing."""
        operating.forget(self.settings.trust_store())

    def rebuild(self, **options: Any) -> RebuildReport:
        """Rebuild, for good."""
        return rebuild(self.settings, do_write=True, **options)

    def accept(self) -> None:
        """What an operator does on each client afterwards."""
        accept_trust(self.settings, current_point(self.settings))

    def audit(self) -> list[str]:
        """What an audit of both chains finds."""
        return [finding.message for finding in verify_ledger(self.settings).findings]

    def check(self) -> FsckReport:
        """Check everything."""
        return fsck(self.settings, threads=1)
