"""A repository beside a plain model of it: what it must say, and what each change does to that.

Whatever brings a repository to an earlier state (a backup that is restored), or makes it again (a
catalogue that is rebuilt), does the same to the model. ``site.agrees()`` then says whether the two
still fit.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sealstore.admin.key_changes import rotate_key
from sealstore.admin.keyring_file import keys_in_file
from sealstore.audit.verifying import verify_ledger
from sealstore.errors import (
    AliasInTheWayError,
    ArtifactInUseError,
    ArtifactNotFound,
    BackupRefusedError,
    SealstoreError,
)
from sealstore.keys.keyring import Key, Keyring, State
from sealstore.keys.writing import write_keyring_file
from sealstore.names import request
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.upkeep.backup import backup
from sealstore.upkeep.fsck import fsck
from sealstore.upkeep.gc import collect
from sealstore.upkeep.rebuild import rebuild
from sealstore.upkeep.restore import restore
from sealstore.upkeep.trust import accept_trust, current_point

Ref = tuple[str, str, int]
Target = tuple[str, int]


@dataclass
class Stored:
    """What the model knows of an artifact.

    Attributes:
        obj: the object.
        sequence: of the entry of its store.
        key_id: who signed its statement.
        sha256: its payload.
        origin: what it was imported from; None if it was stored here.
    """

    obj: Any
    sequence: int
    key_id: str
    sha256: str
    origin: Ref | None = None


@dataclass
class Plain:
    """Everything that a repository must know, as a dictionary would."""

    changes: int = 1
    stored: dict[Ref, Stored] = field(default_factory=dict)
    removed: dict[Ref, Stored] = field(default_factory=dict)
    highest: dict[tuple[str, str], int] = field(default_factory=dict)
    moves: dict[tuple[str, str], list[Target | None]] = field(default_factory=dict)
    payloads: set[str] = field(default_factory=set)

    def newest(self, name: str, tag: str) -> Ref | None:
        return max((ref for ref in self.stored if ref[:2] == (name, tag)), default=None)

    def latest(self, name: str) -> Ref | None:
        of_name = [ref for ref in self.stored if ref[0] == name]
        return max(of_name, key=lambda ref: self.stored[ref].sequence, default=None)

    def means(self, name: str, alias: str) -> Ref | None:
        target = self.moves.get((name, alias), [None])[-1]
        return None if target is None else (name, *target)

    def found(self, name: str, tag: str, revision: int | None = None) -> Ref | None:
        """What a request means."""
        if tag == "latest":
            return self.latest(name)
        if (name, tag) in self.moves:
            return self.means(name, tag)
        if revision is None:
            return self.newest(name, tag)
        return (name, tag, revision) if (name, tag, revision) in self.stored else None

    def in_use(self) -> set[Ref]:
        return {ref for alias in self.moves if (ref := self.means(*alias)) is not None}

    def needed(self) -> set[str]:
        return {known.sha256 for known in self.stored.values()}

    def has_imported(self, ref: Ref) -> bool:
        both = (*self.stored.values(), *self.removed.values())
        return any(known.origin == ref for known in both)

    def add(self, name: str, tag: str, known: Callable[[int], Stored]) -> Ref:
        """A store, or an import, of the next revision."""
        self.changes += 1
        revision = self.highest.get((name, tag), 0) + 1
        self.highest[name, tag] = revision
        self.stored[name, tag, revision] = known(self.changes)
        self.payloads.add(self.stored[name, tag, revision].sha256)
        return name, tag, revision


class Site:
    """A repository with a client of its own, beside its model.

    Args:
        folder: a prepared one, with a repository in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = site_settings(folder)
        self.plain = Plain()
        self.snapshots: list[tuple[str, Plain, str]] = []
        self.repository = Repository.open(settings=self.settings)

    def reopen(self) -> None:
        """Let another process go on."""
        self.repository.close()
        self.repository = Repository.open(settings=self.settings)

    # ── keys ─────────────────────────────────────────────────────────────────

    @property
    def own_keys(self) -> list[Key]:
        return [key for key in keys_in_file(self.settings) if key.material.can_sign]

    @property
    def signer(self) -> Key:
        """The newest active key that can sign."""
        return [key for key in self.own_keys if key.state is State.ACTIVE][-1]

    def rotate(self) -> None:
        """A new key takes over head and settings, and the old one only verifies."""
        assert rotate_key(self.settings, self.signer.key_id).settings_error is None
        self.plain.changes += 1

    def learn(self, keys: Keyring) -> None:
        """Take over the public keys of another site, as they are there now."""
        write_keyring_file(self.settings.keyring_path, Keyring.of([*self.own_keys, *keys]))

    def resign(self, ref: Ref) -> None:
        """Give an artifact the signature of today's key."""
        known, signer = self.plain.stored[ref], self.signer.key_id
        self.plain.changes += known.key_id != signer
        known.key_id = signer
        assert self.repository.resign(request(*ref)).key_id == signer

    # ── artifacts ────────────────────────────────────────────────────────────

    def store(self, obj: Any, name: str, tag: str) -> None:
        """Under the next revision, or not at all where the tag is an alias."""
        if (name, tag) in self.plain.moves:
            with pytest.raises(AliasInTheWayError):
                self.repository.store(obj, name, tag)
            return
        signer = self.signer.key_id
        artifact = self.repository.store(obj, name, tag)
        sha256 = artifact.digests.sha256
        ref = self.plain.add(name, tag, lambda sequence: Stored(obj, sequence, signer, sha256))
        assert (artifact.revision, artifact.sequence) == (ref[2], self.plain.changes)

    def remove(self, name: str, tag: str, revision: int | None) -> None:
        """One revision or all of a tag, unless an alias means some of it."""
        plain = self.plain
        gone = sorted(
            ref for ref in plain.stored if ref[:2] == (name, tag) and revision in (None, ref[2])
        )
        refusal: type[SealstoreError] | None = None
        if (name, tag) in plain.moves:
            refusal = AliasInTheWayError
        elif not gone:
            refusal = ArtifactNotFound
        elif plain.in_use() & set(gone):
            refusal = ArtifactInUseError
        if refusal is not None:
            with pytest.raises(refusal):
                self.repository.remove(name, tag, revision=revision)
            return
        removed = self.repository.remove(name, tag, revision=revision)
        assert [as_ref(each) for each in removed] == gone
        plain.changes += len(gone)
        for ref in gone:
            plain.removed[ref] = plain.stored.pop(ref)

    def load(self, name: str, tag: str, revision: int | None = None) -> None:
        """What the model says, with the statement that it says; or proof that it is not there."""
        ref = self.plain.found(name, tag, revision)
        if ref is None:
            with pytest.raises(ArtifactNotFound):
                self.repository.load(name, tag, revision=revision)
            return
        known = self.plain.stored[ref]
        assert self.repository.load(name, tag, revision=revision) == known.obj
        artifact = self.repository.get(name, tag, revision=revision)
        assert as_ref(artifact.ref) == ref
        assert (artifact.sequence, artifact.key_id) == (known.sequence, known.key_id)
        kept = self.repository.origin(name, tag, revision=revision)
        # Imported artifacts keep their names and tags.
        assert (None if kept is None else kept.origin.revision) == (known.origin or (None,))[-1]

    # ── aliases ──────────────────────────────────────────────────────────────

    def move(self, name: str, alias: str, tag: str | None, revision: int | None = None) -> None:
        """To an artifact; without a tag, back to what it meant before."""
        plain = self.plain
        if tag is None:
            before = plain.moves.get((name, alias), [])[-2:-1]
            target = (name, *before[0]) if before and before[0] is not None else None
            target = target if target in plain.stored else None
        else:
            target = plain.found(name, tag, revision)
        refusal: type[SealstoreError] | None = None
        if (name, alias) in plain.highest or (tag is not None and (name, tag) in plain.moves):
            refusal = AliasInTheWayError
        elif target is None:
            refusal = ArtifactNotFound
        if refusal is not None:
            with pytest.raises(refusal):
                self._move(name, alias, tag, revision)
            return
        assert target is not None
        moved = self._move(name, alias, tag, revision)
        plain.moves.setdefault((name, alias), []).append(target[1:])
        plain.changes += 1
        assert (moved.tag, moved.revision) == target[1:]
        assert moved.move == len(plain.moves[name, alias])

    def _move(self, name: str, alias: str, tag: str | None, revision: int | None) -> Any:
        if tag is None:
            return self.repository.rollback_alias(name, alias)
        return self.repository.set_alias(name, alias, tag, revision=revision)

    def remove_alias(self, name: str, alias: str) -> None:
        """It means nothing, and stays an alias."""
        plain = self.plain
        if (name, alias) in plain.highest or plain.means(name, alias) is None:
            is_tag = (name, alias) in plain.highest
            with pytest.raises(AliasInTheWayError if is_tag else ArtifactNotFound):
                self.repository.remove_alias(name, alias)
            return
        self.repository.remove_alias(name, alias)
        plain.moves[name, alias].append(None)
        plain.changes += 1

    # ── backups, and a lost catalogue ────────────────────────────────────────

    def back_up(self, copy: bool) -> None:
        """A snapshot, and the model as it is now."""
        report = backup(self.repository, self.folder / "kept", copy=copy)
        assert (report.artifacts, report.payloads) == (
            len(self.plain.stored),
            len(self.plain.needed()),
        )
        self.snapshots.append((report.snapshot, deepcopy(self.plain), self.signer.key_id))

    def restore(self, number: int) -> None:
        """The repository is lost, and a snapshot takes its place; the operator accepts that."""
        name, plain, signer = self.snapshots[number % len(self.snapshots)]
        self.repository.close()
        shutil.rmtree(self.settings.path)
        is_retired = signer != self.signer.key_id
        if is_retired:
            with pytest.raises(BackupRefusedError, match="RETIRED_KEY"):
                restore(self.settings, self.folder / "kept", name=name)
        report = restore(self.settings, self.folder / "kept", name=name, accept_retired=is_retired)
        assert report.accepted_key_ids == ((signer,) if is_retired else ())
        self.plain = deepcopy(plain)
        # What nothing needed was not in it.
        self.plain.payloads = self.plain.needed()
        # That today's key signs it is put on record.
        self.plain.changes += is_retired
        accept_trust(self.settings, current_point(self.settings))
        self.repository = Repository.open(settings=self.settings)

    def rebuild(self, damage: str) -> None:
        """The catalogue loses rows, and is made again; nothing that the history has is lost."""
        self.repository.close()
        with closing(sqlite3.connect(self.settings.path / "catalogue.sqlite3")) as connection:
            connection.execute(f"DELETE FROM {damage}")
            connection.commit()
        report = rebuild(self.settings, do_write=True)
        assert report.lost == [], report.lost
        accept_trust(self.settings, current_point(self.settings))
        self.repository = Repository.open(settings=self.settings)
        # The settings that begin the epoch, and the rebuild itself, are changes as well.
        newest = self.repository.history(limit=10)
        added = [each.event for each in newest if each.sequence > self.plain.changes]
        assert added[0] == "rebuild"
        assert set(added) <= {"rebuild", "settings"}
        self.plain.changes += len(added)

    # ── everything ───────────────────────────────────────────────────────────

    def collect(self) -> None:
        """Remove every payload that the model does not need, and nothing else."""
        garbage = self.plain.payloads - self.plain.needed()
        report = collect(self.repository, delete=True, grace=0)
        assert report.findings == []
        assert {each.found.name for each in report.removed} == garbage
        # A slow disk may need more than one transaction.
        newest = self.repository.history(limit=1)[0].sequence
        entries = self.repository.history(limit=max(1, newest - self.plain.changes))
        collections = [each for each in entries if each.sequence > self.plain.changes]
        assert {each.event for each in collections} == ({"gc"} if garbage else set())
        assert sum(each.details["payloads"] for each in collections) == len(garbage)  # type: ignore[misc]
        self.plain.changes = newest
        self.plain.payloads -= garbage

    def check(self) -> None:
        """The check finds nothing, and counts what the model does."""
        report = fsck(self.settings, threads=1)
        assert report.findings == []
        assert report.notes == [] or self.plain.payloads - self.plain.needed()
        assert report.entries == self.plain.changes
        assert report.artifacts == len(self.plain.stored)
        assert report.payloads == len(self.plain.needed())

    def audit(self) -> None:
        """Both chains verify to their ends."""
        assert verify_ledger(self.settings).findings == []

    def agrees(self) -> None:
        """Artifacts, aliases, history and payload files are those of the model."""
        plain = self.plain
        page = self.repository.list(limit=1_000)
        assert page.refused == []
        assert [as_ref(each.ref) for each in page.artifacts] == sorted(
            plain.stored, key=lambda ref: -plain.stored[ref].sequence
        )
        assert self.repository.history(limit=1)[0].sequence == plain.changes
        assert set(self.repository.blobs.sha256s()) == plain.payloads
        for name in {name for name, _ in plain.moves}:
            listed = {
                each.alias: (name, each.tag, each.revision)
                for each in self.repository.aliases(name)
            }
            assert listed == {
                alias: ref
                for of, alias in plain.moves
                if of == name and (ref := plain.means(name, alias)) is not None
            }


def as_ref(ref: Any) -> Ref:
    """A reference, as the model has it."""
    return str(ref.name), str(ref.tag), ref.revision


def site_settings(folder: Path) -> Settings:
    """The settings of a site's client, which remembers what it has seen beside the repository."""
    return Settings.from_environment(
        {
            "MODEL_REPO_PATH": str(folder / "repository"),
            "MODEL_REPO_KEYRING": str(folder / "keys" / "ring.json"),
            "MODEL_REPO_TRUST_STATE": str(folder / "trust"),
        }
    )


def prepare(folder: Path, key: Key) -> None:
    """Make an empty site, to be copied: that is quicker than making one."""
    settings = site_settings(folder)
    write_keyring_file(settings.keyring_path, Keyring.of([key]))
    Repository.create(settings.path, settings=settings).close()
