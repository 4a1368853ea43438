"""Whoever may write to a backup, or to the repository, and has no key."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import (
    AccessLogError,
    BackupRefusedError,
    CatalogueTamperedError,
    RollbackError,
    SealstoreError,
    StorageError,
    VerificationError,
)
from sealstore.repository.facade import Repository
from sealstore.upkeep import backup, restore
from sealstore.upkeep.backup import snapshot as snapshot_module
from sealstore.upkeep.backup.snapshot import BackupReport, snapshots_in
from tests.places import CopiedPlace
from tests.ruins import Ruins
from tests.sealstore_fixtures import snapshot

pytestmark = pytest.mark.invariant(2)

Attack = Callable[[Path], object]


class Backed(Ruins):
    """A repository with an older and a newer snapshot, which share nothing with it."""

    older: Path
    newer: Path

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.kept = place / "kept"

    @classmethod
    def fill(cls, place: Path) -> None:
        made = cls(place)
        made.store([1], "a", "1")
        made.back_up(copy=True)
        made.store([2], "b", "1")
        with made.open() as repository:
            repository.load("b")
        made.store([3], "gone", "1")
        made.remove("gone", "1")
        made.back_up(copy=True)

    def back_up(self, **options: Any) -> BackupReport:
        with self.open() as repository:
            return backup.backup(repository, self.kept, **options)

    def put_back(self) -> None:
        again = replace(self.settings, path=self.place / "again")
        restore.restore(again, self.kept)

    def require_nothing_restored(self) -> None:
        assert not (self.place / "again").exists()
        assert not list(self.place.glob(".restoring-*"))


@pytest.fixture
def site(copied_place: CopiedPlace, tmp_path: Path) -> Backed:
    made = Backed(copied_place(Backed.fill, tmp_path))
    made.older, made.newer = (each.path for each in snapshots_in(made.kept))
    return made


@pytest.fixture
def fired(tmp_path: Path) -> Path:
    """A file that the hostile payload makes."""
    return tmp_path / "fired"


def payload(root: Path) -> Path:
    """One of the payloads below a folder."""
    return min((root / "objects").glob("??/*"))


def overwrite(path: Path, data: bytes) -> None:
    """Change a file's bytes, whatever its mode says."""
    path.chmod(0o640)
    path.write_bytes(data)


def sql(root: Path, *statements: str, database: str = "catalogue.sqlite3") -> None:
    """What somebody with SQL does."""
    with closing(sqlite3.connect(root / database)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


class Hostile:
    """A payload that fires when anybody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


# ── a snapshot that was changed ──────────────────────────────────────────────


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    overwrite(path, bytes(data))


def older_catalogue(root: Path) -> None:
    [older, _] = snapshots_in(root.parent)
    shutil.copy(older.path / "catalogue.sqlite3", root / "catalogue.sqlite3")


def older_head(root: Path) -> None:
    [older, _] = snapshots_in(root.parent)
    with closing(sqlite3.connect(older.path / "catalogue.sqlite3")) as connection:
        [row] = connection.execute("SELECT * FROM history_head").fetchall()
    with closing(sqlite3.connect(root / "catalogue.sqlite3")) as connection:
        connection.execute("DELETE FROM history_head")
        connection.execute(f"INSERT INTO history_head VALUES ({', '.join('?' * len(row))})", row)
        connection.commit()


def swap_payloads(root: Path) -> None:
    first, second = sorted((root / "objects").glob("??/*"))[:2]
    one, two = first.read_bytes(), second.read_bytes()
    overwrite(first, two)
    overwrite(second, one)


CHANGED: dict[str, Attack] = {
    "a payload with one bit changed": lambda root: flip(payload(root)),
    "a payload that is missing": lambda root: payload(root).unlink(),
    "two payloads swapped": swap_payloads,
    "a payload of another size": lambda root: overwrite(payload(root), b"longer than it was"),
    "a mirrored statement changed": lambda root: flip(root / "statements/a/1/1.json"),
    "a mirrored statement of another artifact": lambda root: shutil.copy(
        root / "statements/a/1/1.json", root / "statements/b/1/1.json"
    ),
    "settings changed": lambda root: flip(root / "repository.json"),
    "a row removed": lambda root: sql(root, "DELETE FROM artifact WHERE name = 'a'"),
    "a row edited": lambda root: sql(root, "UPDATE artifact SET tag = '2' WHERE name = 'a'"),
    "a record of the map removed": lambda root: sql(
        root, "DELETE FROM map_row WHERE rowid = (SELECT min(rowid) FROM map_row)"
    ),
    "an entry of the history removed": lambda root: sql(
        root, "DELETE FROM history_entry WHERE sequence = 2"
    ),
    "the end of the history removed": lambda root: sql(
        root, "DELETE FROM history_entry WHERE sequence > 2"
    ),
    "an older head": older_head,
    "an older catalogue, and newer files": older_catalogue,
    "a planted trigger": lambda root: sql(
        root, "CREATE TRIGGER t AFTER INSERT ON artifact BEGIN DELETE FROM artifact; END"
    ),
    "a planted view": lambda root: sql(root, "CREATE VIEW v AS SELECT 1"),
    "no database": lambda root: (root / "catalogue.sqlite3").unlink(),
    "a database that is none": lambda root: overwrite(root / "catalogue.sqlite3", b"x" * 5000),
    "an access log that is cut off": lambda root: sql(
        root, "DELETE FROM access_entry", database="access.sqlite3"
    ),
    "a foreign file": lambda root: (root / "setup.py").write_bytes(b""),
    "a foreign folder": lambda root: (root / "objects2").mkdir(),
    "a foreign file among the payloads": lambda root: payload(root).with_name("x").write_bytes(b""),
    "a payload under another prefix": lambda root: payload(root).rename(
        payload(root).with_name("f" * 64)
    ),
    "folders without end": lambda root: (root / "statements/a/b/c/d/e/f/g").mkdir(parents=True),
}


@pytest.mark.parametrize("attack", CHANGED.values(), ids=CHANGED)
def test_a_changed_snapshot_is_not_restored(attack: Attack, site: Backed) -> None:
    """Whatever was changed in it: nothing gets its place, and nothing is left of the attempt."""
    site.put_back()
    shutil.rmtree(site.place / "again")
    attack(site.newer)
    with pytest.raises(BackupRefusedError):
        site.put_back()
    site.require_nothing_restored()


def test_nothing_of_a_snapshot_is_unpickled(site: Backed, fired: Path) -> None:
    """A hostile payload in a payload's place does not run; it does in the hands of pickle."""
    hostile = pickle.dumps(Hostile(fired))
    overwrite(payload(site.newer), hostile)
    with pytest.raises(BackupRefusedError):
        site.put_back()
    assert not fired.exists()
    pickle.loads(hostile)
    assert fired.exists()


# ── files that are none ──────────────────────────────────────────────────────

PLACES = ["objects", "payload", "statements", "repository.json", "catalogue.sqlite3"]


def replaced(root: Path, place: str) -> Path:
    """What stood in a place, moved out of the snapshot."""
    path = payload(root) if place == "payload" else root / place
    aside = root.parent.parent / "aside"
    shutil.move(path, aside)
    return path


@pytest.mark.parametrize("place", PLACES)
def test_no_link_in_a_snapshot_is_followed(place: str, site: Backed) -> None:
    """Not even to what was there."""
    replaced(site.newer, place).symlink_to(site.place / "aside")
    with pytest.raises(BackupRefusedError):
        site.put_back()
    site.require_nothing_restored()


@pytest.mark.parametrize("place", PLACES)
def test_no_pipe_in_a_snapshot_is_opened(place: str, site: Backed) -> None:
    """It would never end."""
    os.mkfifo(replaced(site.newer, place))
    with pytest.raises(BackupRefusedError):
        site.put_back()
    site.require_nothing_restored()


def test_a_link_is_no_snapshot(site: Backed) -> None:
    """What is newest is a folder of the backup."""
    moved = site.place / "moved"
    site.newer.rename(moved)
    site.newer.symlink_to(moved)
    assert [each.path for each in snapshots_in(site.kept)] == [site.older]


def test_a_file_that_becomes_a_pipe_is_not_read(
    site: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the opening."""
    real = restore._require_expected

    def swap(found: Any) -> None:
        real(found)
        if found.name == "repository.json":
            path = site.newer / "repository.json"
            path.unlink()
            os.mkfifo(path)

    monkeypatch.setattr(restore, "_require_expected", swap)
    with pytest.raises(BackupRefusedError, match="no regular file"):
        site.put_back()
    site.require_nothing_restored()


# ── a genuine snapshot in another's place ────────────────────────────────────


def test_an_older_snapshot_under_a_newer_name_is_a_rollback(site: Backed) -> None:
    """It is genuine, and restored; whoever has seen a newer state does not take it."""
    site.older.rename(site.older.with_name(f"2999{site.older.name[4:]}"))
    shutil.rmtree(site.root)
    report = restore.restore(site.settings, site.kept)
    assert report.snapshot.at.year == 2999
    with pytest.raises(RollbackError):
        site.open()


def test_a_snapshot_of_a_repository_of_the_same_keys(site: Backed, tmp_path: Path) -> None:
    """This client remembers which one was there."""
    other = replace(site.settings, path=site.place / "other", trust_folder=site.place / "theirs")
    with Repository.create(other.path, settings=other) as repository:
        theirs = backup.backup(repository, site.place / "kept2")
    shutil.move(site.place / "kept2" / theirs.snapshot, site.kept / f"2999{theirs.snapshot[4:]}")
    shutil.rmtree(site.root)
    with pytest.raises(SealstoreError, match="was seen here before"):
        restore.restore(site.settings, site.kept)
    assert not site.root.exists()


# ── what an attacker with the repository's files gets into a backup ──────────


def another_database(root: Path) -> None:
    """Of the operator's, whom the attacker would like to copy it for him."""
    secret = root.parent / "secret.sqlite3"
    sql(root.parent, "CREATE TABLE secret (word)", database=secret.name)
    for path in root.glob("access.sqlite3*"):
        path.unlink()
    (root / "access.sqlite3").symlink_to(secret)


DAMAGED: dict[str, Attack] = {
    "a payload with one bit changed": lambda root: flip(payload(root)),
    "a payload that is missing": lambda root: payload(root).unlink(),
    "a row removed": lambda root: sql(root, "DELETE FROM artifact WHERE name = 'a'"),
    "a row edited": lambda root: sql(root, "UPDATE artifact SET tag = '2' WHERE name = 'a'"),
    "an envelope edited": lambda root: sql(
        root, "UPDATE artifact SET envelope = x'00' WHERE name = 'a'"
    ),
    "an entry of the history removed": lambda root: sql(
        root, "DELETE FROM history_entry WHERE sequence = 2"
    ),
    "a planted trigger": lambda root: sql(
        root, "CREATE TRIGGER t AFTER INSERT ON artifact BEGIN DELETE FROM artifact; END"
    ),
    "an access log that is cut off": lambda root: sql(
        root, "DELETE FROM access_entry", database="access.sqlite3"
    ),
    "an access log with an edited entry": lambda root: sql(
        root, "UPDATE access_entry SET entry = x'00' WHERE sequence = 1", database="access.sqlite3"
    ),
    "a link in the access log's place": another_database,
    "an origin of nothing": lambda root: sql(
        root, "INSERT INTO origin (sequence, envelope) VALUES (99, CAST('{}' AS BLOB))"
    ),
}


REFUSALS = (AccessLogError, VerificationError, CatalogueTamperedError, BackupRefusedError)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("attack", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_repository_is_not_backed_up(attack: Attack, copy: bool, site: Backed) -> None:
    """It is told when there are good snapshots still; these stay as they were."""
    shutil.rmtree(site.older)
    shutil.rmtree(site.newer)
    kept = site.back_up(copy=True).snapshot
    site.store([5], "c", "1")
    before = snapshot(site.kept)
    with site.open() as repository:
        attack(site.root)
        # Nothing is linked from the snapshot before.
        (site.kept / kept).rename(site.place / "away")
        with pytest.raises(REFUSALS):
            backup.backup(repository, site.kept, copy=copy)
    (site.place / "away").rename(site.kept / kept)
    assert snapshot(site.kept) == before


@pytest.mark.parametrize("copy", [False, True])
def test_a_link_in_a_payloads_place_brings_nothing_in(site: Backed, copy: bool) -> None:
    """Neither the link nor the file that it names."""
    secret = site.place / "secret"
    secret.write_bytes(b"secret")
    site.store([6], "c", "1")
    known = {path.name for path in (site.newer / "objects").glob("??/*")}
    [new] = [
        path
        for path in (site.root / "objects").glob("??/*")
        if path.name not in known and path.stat().st_size > 0 and is_needed(site, path.name)
    ]
    new.unlink()
    new.symlink_to(secret)
    with pytest.raises(VerificationError):
        site.back_up(copy=copy)
    assert [each.path for each in snapshots_in(site.kept)] == [site.older, site.newer]
    assert not list(site.kept.glob(".incomplete-*"))
    assert secret.read_bytes() == b"secret"


def is_needed(site: Backed, sha256: str) -> bool:
    with site.open() as repository:
        return repository.get("c").digests.sha256 == sha256


def test_a_link_in_an_earlier_snapshot_is_not_taken_over(site: Backed) -> None:
    """The payload is copied from the repository."""
    path = payload(site.newer)
    size = path.stat().st_size
    path.unlink()
    path.symlink_to("x" * size)
    report = site.back_up(copy=True)
    assert (report.linked, report.copied) == (1, 1)
    site.put_back()


def test_an_older_repository_is_not_backed_up(site: Backed) -> None:
    """This client has seen a newer one."""
    with site.open() as repository:
        shutil.copy(site.older / "catalogue.sqlite3", site.root / "catalogue.sqlite3")
        for suffix in ("-wal", "-shm"):
            Path(f"{site.database}{suffix}").unlink(missing_ok=True)
        with pytest.raises(RollbackError):
            backup.backup(repository, site.kept)
    assert [each.path for each in snapshots_in(site.kept)] == [site.older, site.newer]


def test_a_file_that_is_exchanged_while_it_is_linked_is_not_backed_up(
    site: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is hashed is what was linked, whatever has the name in the repository by then."""
    shutil.rmtree(site.kept)
    path = payload(site.root)
    whole = path.read_bytes()
    real = snapshot_module._link

    def swap(source: Path, target: Path) -> bool:
        if source.name == path.name:
            source.unlink()
            source.write_bytes(bytes(len(whole)))
        linked = real(source, target)
        if source.name == path.name:
            source.unlink()
            source.write_bytes(whole)
        return linked

    monkeypatch.setattr(snapshot_module, "_link", swap)
    with pytest.raises(VerificationError):
        site.back_up()
    assert snapshots_in(site.kept) == []


# ── a folder that others can change ──────────────────────────────────────────


def give_away(folder: Path, user_id: int, group_id: int) -> None:
    try:
        os.chown(folder, user_id, group_id)
    except OSError as error:
        pytest.skip(f"no other user's ids in this container: {error.strerror}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("where", ["", ".."])
def test_a_folder_of_somebody_else_is_refused(site: Backed, where: str) -> None:
    """Who can put another one in its place would have databases written anywhere."""
    inner = site.place / "disk" / "kept"
    inner.mkdir(parents=True, mode=0o700)
    give_away(inner / where, 65534, 65534)
    with site.open() as repository, pytest.raises(BackupRefusedError, match="another folder"):
        backup.backup(repository, inner)
    assert list(inner.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_below_one_that_others_can_change_is_refused(site: Backed, mode: int) -> None:
    """In a sticky one, such as /tmp, only the owner can rename what is his."""
    disk = site.place / "disk"
    disk.mkdir()
    if os.geteuid() == 0:
        give_away(disk, 0, 65534)
    elif mode == 0o775:
        pytest.skip("the user's own group may write")
    disk.chmod(mode)
    with site.open() as repository:
        with pytest.raises(BackupRefusedError, match="another folder"):
            backup.backup(repository, disk / "kept")
        assert list(disk.iterdir()) == []
        disk.chmod(0o1777)
        assert backup.backup(repository, disk / "kept").artifacts == 2


@pytest.mark.parametrize("name", ["99991231T235959Z", "20269999T999999Z", "00000101T000000Z"])
def test_a_planted_name_is_no_snapshot(site: Backed, name: str) -> None:
    """And stops nothing."""
    (site.kept / f"{name}-e1-n1-{'a' * 12}").mkdir()
    assert site.back_up().artifacts == 2
    site.put_back()


def test_a_copy_shares_no_file_with_the_repository(site: Backed) -> None:
    """Even where an earlier snapshot does."""
    shutil.rmtree(site.kept)
    site.back_up()
    report = site.back_up(copy=True)
    assert (report.copied, report.linked) == (2, 0)
    for path in (site.root / "objects").glob("??/*"):
        overwrite(path, b"changed")
    site.put_back()


def test_a_snapshots_name_does_not_hide_a_rollback(site: Backed) -> None:
    """What is said of it is taken from its verified head."""
    shutil.rmtree(site.newer)
    site.older.rename(
        site.older.with_name(f"{site.older.name[:-13].rsplit('-', 1)[0]}-n99-{'a' * 12}")
    )
    again = replace(site.settings, path=site.place / "again")
    site.root.rename(site.place / "lost")
    report = restore.restore(replace(again, path=site.root), site.kept)
    assert report.snapshot.size == 2
    assert report.remembered_size == 5


@pytest.mark.parametrize("name", ["repository.json", "statements/a/1/1.json"])
def test_a_file_that_is_too_large_is_not_copied(site: Backed, name: str) -> None:
    """Settings and statements have a limit each, which is asked before anything is copied."""
    overwrite(site.newer / name, bytes(2**23))
    with pytest.raises(BackupRefusedError, match="nothing that a backup puts there"):
        site.put_back()
    site.require_nothing_restored()


def test_a_file_that_grows_while_it_is_copied_is_refused(
    site: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is copied than there was room for."""
    real = restore._require_space

    def grow(target: Path, size: int) -> None:
        real(target, size)
        for path in (site.newer / "objects").glob("??/*"):
            overwrite(path, path.read_bytes() + bytes(2**20))

    monkeypatch.setattr(restore, "_require_space", grow)
    with pytest.raises(BackupRefusedError, match="changed while it was copied"):
        site.put_back()
    site.require_nothing_restored()


def test_who_locks_the_place_does_not_hang_it(
    site: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can open a folder can lock it."""
    monkeypatch.setattr(restore, "_LOCK_SECONDS", 0.2)
    held = os.open(site.place, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(StorageError, match="has locked the folder"):
            site.put_back()
    finally:
        os.close(held)
    site.put_back()
