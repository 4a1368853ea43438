"""Backups and restores: what a snapshot holds, what it shares, and what a restore checks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sealstore.admin.key_changes import revoke_key
from sealstore.errors import (
    AccessLogNotFoundError,
    ArtifactNotFound,
    BackupRefusedError,
    CatalogueError,
    PayloadMissingError,
    RepairWarning,
    RepositoryExchangedError,
    RepositoryExistsError,
    RevokedKeyError,
    RollbackError,
    StorageError,
    TrustStateFormatError,
)
from sealstore.keys.keyring import Key, Role, State
from sealstore.keys.sources import read_keyring_file
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue import sqlite_files
from sealstore.upkeep import backup, restore
from sealstore.upkeep.backup import folder as folder_module
from sealstore.upkeep.backup.folder import BackupRecord, last_backup, remember_backup
from sealstore.upkeep.backup.snapshot import BackupReport, snapshots_in
from sealstore.upkeep.doctor.check import Check
from sealstore.upkeep.doctor.repository import check_backup
from sealstore.upkeep.gc import collect
from sealstore.upkeep.restore import RestoreReport
from tests.command_line import Site
from tests.places import CopiedPlace
from tests.ruins import Ruins
from tests.sealstore_fixtures import ed25519_key, hmac_key, roles, snapshot

pytestmark = pytest.mark.invariant(3)


class Backed(Ruins):
    """A repository that is backed up."""

    @property
    def kept(self) -> Path:
        return self.place / "kept"

    def back_up(self, **options: Any) -> BackupReport:
        with self.open() as repository:
            return backup.backup(repository, self.kept, **options)

    def put_back(self, place: str = "again", **options: Any) -> RestoreReport:
        return restore.restore(self.at(place), self.kept, **options)

    def at(self, name: str) -> Any:
        """The settings of a client of a repository in another place."""
        return replace(self.settings, path=self.place / name)

    def payloads(self, root: Path) -> dict[str, int]:
        """The inode of each payload below a folder."""
        return {path.name: path.stat().st_ino for path in (root / "objects").glob("??/*")}


def fill(place: Path) -> None:
    """Two revisions, another artifact with an alias, one that was removed."""
    made = Backed(place)
    made.store([1], "a", "1")
    made.store([2], "a", "1")
    made.store([3], "b", "1")
    with made.open() as repository:
        repository.set_alias("a", "production", "1", revision=1)
    made.store([4], "gone", "1")
    made.remove("gone", "1")


@pytest.fixture
def site(copied_place: CopiedPlace, tmp_path: Path) -> Backed:
    return Backed(copied_place(fill, tmp_path))


def require_all(settings: Any) -> None:
    """Everything that was stored loads, what was removed does not."""
    with Repository.open(settings=settings) as repository:
        assert repository.load("a", "production") == [1]
        assert repository.load("a") == [2]
        assert repository.load("b") == [3]
        with pytest.raises(ArtifactNotFound):
            repository.load("gone", "1")


# ── what a snapshot holds ────────────────────────────────────────────────────


def test_what_is_restored_is_what_was_backed_up(site: Backed) -> None:
    """Artifacts, aliases, history, mirrors, and the access log."""
    with site.open() as repository:
        history = repository.history(limit=100)
        repository.load("b")
    report = site.back_up()
    assert (report.artifacts, report.payloads, report.has_access_log) == (3, 3, True)
    restored = site.put_back()
    assert (restored.checked.artifacts, restored.remembered_size) == (3, None)
    with Repository.open(settings=site.at("again")) as repository:
        assert repository.history(limit=100) == history
        require_all(site.at("again"))
        assert repository.store([5], "gone", "1").revision == 2
    before, after = (
        {
            str(path.relative_to(root))
            for root in [site.place / name]
            for path in root.rglob("*.js*")
        }
        for name in ("repository", "again")
    )
    assert after == before | {"statements/gone/1/2.json"}
    with (
        Repository.open(settings=site.at("again")) as repository,
        repository.access_log.read() as r,
    ):
        assert r.head().head.size >= 2


def test_a_snapshot_is_a_repository(site: Backed) -> None:
    """It is read where it lies, by any client with the keys."""
    report = site.back_up()
    snapshot_folder = site.kept / report.snapshot
    copied = site.place / "plain"
    shutil.copytree(snapshot_folder, copied)
    require_all(site.at("plain"))


def test_files_have_the_modes_of_a_repository(site: Backed) -> None:
    """Payloads are read-only, and nothing is for others."""
    site.back_up()
    site.put_back()
    for root in (site.kept, site.place / "again"):
        for path in root.rglob("*"):
            mode = path.stat().st_mode & 0o777
            assert mode & 0o027 == 0, path
            if path.parent.parent.name == "objects":
                assert mode == 0o440


# ── what snapshots share ─────────────────────────────────────────────────────


def test_what_an_earlier_snapshot_has_is_not_copied_again(site: Backed) -> None:
    """Whether the first one linked the repository's files or copied them."""
    first = site.back_up(copy=True)
    assert (first.copied, first.linked) == (3, 0)
    site.store([7], "new", "1")
    second = site.back_up(copy=True)
    assert (second.copied, second.linked) == (1, 3)
    there, older, newer = (
        site.payloads(root)
        for root in (site.root, site.kept / first.snapshot, site.kept / second.snapshot)
    )
    assert older.items() <= newer.items()
    assert not set(there.values()) & set(newer.values())


def test_payloads_are_linked_where_that_is_possible(site: Backed) -> None:
    """From the repository, on the same file system."""
    report = site.back_up()
    assert (report.copied, report.linked, report.copied_bytes) == (0, 3, 0)
    assert site.payloads(site.kept / report.snapshot).items() <= site.payloads(site.root).items()


def test_without_links_payloads_are_copied(site: Backed, monkeypatch: pytest.MonkeyPatch) -> None:
    """As between two file systems."""
    real = os.link

    def refuse(source: Any, *arguments: Any, **keywords: Any) -> None:
        if "objects" in Path(source).parts:
            raise OSError
        real(source, *arguments, **keywords)

    monkeypatch.setattr(os, "link", refuse)
    assert site.back_up().copied == 3
    monkeypatch.undo()
    site.put_back()
    require_all(site.at("again"))


def test_what_has_changed_in_an_earlier_snapshot_is_found_and_copied_again(site: Backed) -> None:
    """It is mended in all that share the file; nobody sees it where nothing is read again."""
    first = site.back_up(copy=True)
    path = next((site.kept / first.snapshot / "objects").glob("??/*"))
    path.chmod(0o640)
    path.write_bytes(bytes(path.stat().st_size))
    quick = site.back_up(copy=True, quick=True)
    assert (quick.copied, quick.mended) == (0, [])
    for name in (first.snapshot, quick.snapshot):
        require_refused(site, name)
    report = site.back_up(copy=True)
    assert (report.copied, report.mended) == (1, [path.name])
    for name in (first.snapshot, quick.snapshot):
        site.put_back(name, name=name)
    site.put_back()
    require_all(site.at("again"))


def test_of_another_size_it_is_found_without_reading(site: Backed) -> None:
    """A file that was cut off, by a full disk for example."""
    first = site.back_up(copy=True)
    path = next((site.kept / first.snapshot / "objects").glob("??/*"))
    path.chmod(0o640)
    path.write_bytes(b"")
    assert site.back_up(copy=True, quick=True).mended == [path.name]
    site.put_back(name=first.snapshot)


def test_a_disk_that_cannot_read_it_is_mended_too(
    site: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector is an error of the system, not other bytes."""
    first = site.back_up(copy=True)
    bad = next((site.kept / first.snapshot / "objects").glob("??/*")).stat()
    real = os.preadv

    def read(descriptor: int, *arguments: Any) -> int:
        if os.path.samestat(os.fstat(descriptor), bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, "preadv", read)
    report = site.back_up(copy=True)
    assert (report.copied, len(report.mended)) == (1, 1)
    site.put_back(name=first.snapshot)


def test_a_wrong_mode_stops_nothing(site: Backed) -> None:
    """It is set again when the snapshot is restored."""
    for path in (site.root / "objects").glob("??/*"):
        path.chmod(0o640)
    site.back_up()
    site.put_back()
    assert {
        path.stat().st_mode & 0o777 for path in (site.at("again").path / "objects").glob("??/*")
    } == {0o440}


def test_what_is_mended_is_told_where_it_begins_again(
    site: Backed, collected: Callable[[int], list[int]]
) -> None:
    """The second time, it is whole already."""
    collected(0)
    first = site.back_up(copy=True)
    paths = sorted((site.kept / first.snapshot / "objects").glob("??/*"))
    for path in paths:
        path.chmod(0o640)
        path.write_bytes(b"")
    collected(1)
    report = site.back_up(copy=True)
    assert set(report.mended) <= {path.name for path in paths}
    assert len(report.mended) == 3


def test_what_is_whole_in_an_earlier_snapshot_stays(site: Backed) -> None:
    """It has a file of its own there, and keeps it."""
    first, second = site.back_up(copy=True), site.back_up(copy=True)
    path = next((site.kept / second.snapshot / "objects").glob("??/*"))
    whole = site.kept / first.snapshot / path.relative_to(site.kept / second.snapshot)
    path.unlink()
    path.write_bytes(bytes(whole.stat().st_size))
    before = whole.stat()
    assert site.back_up(copy=True).mended == [path.name]
    assert os.path.samestat(whole.stat(), before)
    assert not os.path.samestat(path.stat(), before)
    site.put_back(name=second.snapshot)


def require_refused(site: Backed, name: str) -> None:
    """A snapshot is not restored, and nothing is left of the attempt."""
    with pytest.raises(BackupRefusedError, match="not sound"):
        site.put_back("refused", name=name)
    assert not (site.place / "refused").exists()
    assert not list(site.place.glob(".restoring-*"))


def test_older_snapshots_are_dropped(site: Backed) -> None:
    """All but the newest; what they shared is there still."""
    names = [site.back_up().snapshot for _ in range(3)]
    report = site.back_up(keep=2)
    assert report.dropped == names[:2]
    assert [each.path.name for each in snapshots_in(site.kept)] == [names[2], report.snapshot]
    site.put_back(name=names[2])
    require_all(site.at("again"))


def test_names_sort_as_snapshots_were_made(site: Backed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the clock goes back, or two are made in one second."""
    names = [site.back_up().snapshot]

    class Early(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime(2020, 1, 1, tzinfo=tz)

    monkeypatch.setattr(backup, "datetime", Early)
    names += [site.back_up().snapshot for _ in range(2)]
    assert names == sorted(names)
    assert [each.path.name for each in snapshots_in(site.kept)] == names


# ── while others work ────────────────────────────────────────────────────────


def test_others_store_and_remove_meanwhile(site: Backed) -> None:
    """Each snapshot is of one moment, and restores."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        with site.open() as repository:
            while not stop.is_set():
                number += 1
                repository.store([number], "busy", "1")
                if number % 2:
                    repository.remove("busy", "1")
                    with suppress(StorageError):  # where a backup had to begin again
                        collect(repository, delete=True, grace=0)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        names = [site.back_up(copy=bool(number % 2)).snapshot for number in range(6)]
    finally:
        stop.set()
        worker.join()
    for name in names:
        site.put_back(name, name=name)
        require_all(site.at(name))
    assert site.check().findings == []


@pytest.fixture
def collected(site: Backed, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Something is removed and collected right after the database was copied, so often."""
    real = sqlite_files.copy_database
    done: list[int] = []

    def often(times: int) -> list[int]:
        def copy(source: Path, target: Path) -> None:
            real(source, target)
            if source.name == "catalogue.sqlite3" and len(done) < times:
                number = len(done)
                done.append(number)
                with site.open() as repository:
                    repository.remove("passing", str(number))
                    collect(repository, delete=True, grace=0)

        for number in range(times):
            site.store([100 + number], "passing", str(number))
        monkeypatch.setattr(backup, "copy_database", copy)
        return done

    return often


def test_what_is_collected_meanwhile_makes_it_begin_again(
    site: Backed, collected: Callable[[int], list[int]]
) -> None:
    """Once, and the snapshot is of the state after that."""
    done = collected(1)
    assert site.back_up().artifacts == 3
    assert done == [0]
    assert [path.name for path in site.kept.iterdir() if path.name.startswith(".inc")] == []
    site.put_back()
    require_all(site.at("again"))


def test_nothing_is_collected_while_it_begins_again(
    site: Backed, collected: Callable[[int], list[int]]
) -> None:
    """The second time everything stays, so that it comes to an end."""
    done = collected(2)
    with pytest.raises(StorageError, match="A backup is being made") as refused:
        site.back_up()
    assert "when it has ended" in str(refused.value)
    assert done == [0, 1]
    assert {path.name for path in site.kept.iterdir()} == {".lock"}
    with site.open() as repository:
        assert collect(repository, delete=True, grace=0).removed != []


def test_a_payload_that_is_gone_stops_it(site: Backed) -> None:
    """It does not go on for ever, and leaves nothing."""
    for path in (site.root / "objects").glob("??/*"):
        path.unlink()
    with pytest.raises(PayloadMissingError):
        site.back_up()
    assert {path.name for path in site.kept.iterdir()} == {".lock"}


def test_without_locks_it_still_begins_again(
    site: Backed, collected: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may have none."""

    def refuse(descriptor: int, operation: int) -> None:
        if os.path.samestat(os.fstat(descriptor), objects):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        real(descriptor, operation)

    real, objects = fcntl.flock, (site.root / "objects").stat()
    monkeypatch.setattr(fcntl, "flock", refuse)
    done = collected(1)
    assert site.back_up().artifacts == 3
    assert done == [0]


# ── keys ─────────────────────────────────────────────────────────────────────


def test_what_a_revoked_key_signed_is_kept_and_stays_refused(tmp_path: Path) -> None:
    """A leaked key stops no backup; its artifacts may be accepted by name later."""
    old, new = ed25519_key(1), ed25519_key(2)
    site = Backed(tmp_path, old)
    site.store([1], "a", "1")
    site.set_keys(old, new)
    revoke_key(site.settings, old.key_id)
    site.store([2], "b", "1")
    assert site.back_up().artifacts == 2
    site.put_back()
    with Repository.open(settings=site.at("again")) as repository:
        assert repository.load("b") == [2]
        with pytest.raises(RevokedKeyError):
            repository.load("a")


@pytest.mark.parametrize("role", [Role.ACCESS])
def test_who_may_not_store_can_back_up(site: Backed, role: Role) -> None:
    """Backing up signs nothing."""
    key: Key = hmac_key()
    site.set_keys(key, ed25519_key(5, roles=roles(role)))
    assert site.back_up().artifacts == 3


def test_a_missing_access_log_stops_it(site: Backed) -> None:
    """It is not taken for one that lies elsewhere; what is restored could not be loaded from."""
    for path in site.root.glob("access.sqlite3*"):
        path.unlink()
    with pytest.raises(AccessLogNotFoundError):
        site.back_up()
    assert snapshots_in(site.kept) == []


def test_an_access_log_elsewhere_is_not_in_it(site: Backed) -> None:
    """The report says so, and the snapshot restores."""
    elsewhere = f"sqlite:///{site.place}/elsewhere.sqlite3"
    shutil.copy(site.root / "access.sqlite3", site.place / "elsewhere.sqlite3")
    site.settings = replace(site.settings, access_log_url=elsewhere)
    report = site.back_up()
    assert not report.has_access_log
    assert not (site.kept / report.snapshot / "access.sqlite3").exists()
    site.put_back()
    assert not (site.place / "again" / "access.sqlite3").exists()


@pytest.mark.parametrize("is_newest", [False, True])
def test_a_head_of_a_retired_key_is_restored_on_an_operators_word(
    tmp_path: Path, is_newest: bool
) -> None:
    """Today's key signs head, settings and access log then, and the keyring is as it was."""
    old, new = ed25519_key(3 if is_newest else 1), ed25519_key(2)
    site = Backed(tmp_path, old)
    site.store([1], "a", "1")
    site.back_up()
    site.set_keys(replace(old, state=State.RETIRED), new)
    keyring = site.settings.keyring_path.read_bytes()
    with pytest.raises(BackupRefusedError, match="RETIRED_KEY") as refused:
        site.put_back()
    assert "--accept-retired" in str(refused.value.hint)
    assert not (tmp_path / "again").exists()
    report = site.put_back(accept_retired=True)
    assert report.accepted_key_ids == (old.key_id,)
    assert site.settings.keyring_path.read_bytes() == keyring
    for folder in ("trust", "other"):
        client = replace(site.at("again"), trust_folder=tmp_path / folder)
        with Repository.open(settings=client) as repository:
            assert repository.load("a") == [1]
            assert repository.state.settings.key_id == new.key_id
            assert repository.history(limit=1)[0].details["action"] == "accepted"


def test_an_access_log_of_a_retired_key_is_accepted_with_it(tmp_path: Path) -> None:
    """Each of the heads may have a key of its own."""
    main = ed25519_key(1, roles=roles(Role.STORE, Role.ADMIN))
    old, new = (ed25519_key(number, roles=roles(Role.ACCESS)) for number in (2, 3))
    site = Backed(tmp_path, main, old)
    site.store([1], "a", "1")
    site.back_up()
    site.set_keys(main, replace(old, state=State.RETIRED), new)
    with pytest.raises(BackupRefusedError, match="RETIRED_KEY"):
        site.put_back()
    assert site.put_back(accept_retired=True).accepted_key_ids == (old.key_id,)
    with Repository.open(settings=site.at("again")) as repository:
        assert repository.load("a") == [1]


def test_an_accepted_state_that_is_older_is_told(tmp_path: Path) -> None:
    """That today's key signs it is one entry more, and not the one that this client has seen."""
    old, new = ed25519_key(1), ed25519_key(2)
    site = Backed(tmp_path, old)
    site.store([1], "a", "1")
    site.back_up()
    site.store([2], "a", "1")
    site.root.rename(site.place / "lost")
    site.set_keys(replace(old, state=State.RETIRED), new)
    report = restore.restore(site.settings, site.kept, accept_retired=True)
    assert (report.snapshot.size, report.remembered_size) == (2, 3)


def test_nothing_is_signed_again_where_nothing_has_to_be(site: Backed) -> None:
    """Also where the operator would take a retired key."""
    site.back_up()
    report = site.put_back(accept_retired=True)
    assert report.accepted_key_ids == ()
    assert report.checked.entries == report.snapshot.size


def test_a_head_of_a_revoked_key_is_never_restored(tmp_path: Path) -> None:
    """Whatever else is in it: who leaked the key could have made all of that."""
    old, new = ed25519_key(1), ed25519_key(2)
    site = Backed(tmp_path, old)
    site.store([1], "a", "1")
    report = site.back_up()
    site.set_keys(replace(old, state=State.REVOKED), new)
    for path in (site.kept / report.snapshot / "objects").glob("??/*"):
        path.unlink()
    for accept in (False, True):
        with pytest.raises(BackupRefusedError, match="REVOKED_KEY") as refused:
            site.put_back(accept_retired=accept)
        assert "after the revocation" in str(refused.value.hint)
    assert not (tmp_path / "again").exists()


# ── the folder of a backup ───────────────────────────────────────────────────


@pytest.mark.parametrize("folder", ["repository/inside", "repository", "."])
def test_a_backup_and_its_repository_do_not_lie_in_one_another(site: Backed, folder: str) -> None:
    """Not even by a link."""
    link = site.place.with_name(f"{site.place.name}-link")
    link.symlink_to(site.place)
    for place in (site.place, link):
        with site.open() as repository, pytest.raises(BackupRefusedError, match="in one another"):
            backup.backup(repository, place / folder)


@pytest.mark.parametrize("inside", ["", "objects/x"])
def test_a_snapshot_is_no_place_for_a_backup(site: Backed, inside: str) -> None:
    """Nor is a folder in one, or in another repository: what is there would be ruined."""
    report = site.back_up()
    before = snapshot(site.kept)
    for place in (site.kept / report.snapshot, site.place / "repository2"):
        if place.name == "repository2":
            site.put_back("repository2")
        with site.open() as repository, pytest.raises(BackupRefusedError, match="or lies in one"):
            backup.backup(repository, place / inside)
    assert snapshot(site.kept) == before


def test_a_folder_with_other_things_in_it_is_no_place_for_a_backup(site: Backed) -> None:
    """A slip of the hand; what a file system puts into its root is no harm."""
    (site.kept / "lost+found").mkdir(parents=True)
    site.kept.chmod(0o700)
    site.back_up()
    shutil.rmtree(site.kept)
    site.kept.mkdir(mode=0o700)
    (site.kept / "thesis.tex").touch()
    with pytest.raises(BackupRefusedError, match="not empty"):
        site.back_up()


def test_a_backup_is_of_one_repository(site: Backed, tmp_path: Path) -> None:
    """Another one's snapshots are neither counted nor dropped."""
    site.back_up()
    before = snapshot(site.kept)
    other = replace(site.settings, path=tmp_path / "other", trust_folder=tmp_path / "theirs")
    with (
        Repository.create(other.path, settings=other) as repository,
        pytest.raises(BackupRefusedError, match="another repository"),
    ):
        backup.backup(repository, site.kept, keep=1)
    assert snapshot(site.kept) == before


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(site: Backed, mode: int) -> None:
    """With the command that mends it."""
    site.kept.mkdir()
    site.kept.chmod(mode)
    with pytest.raises(BackupRefusedError, match="Others can write") as refused:
        site.back_up()
    assert "chmod go-w" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("name", "members", "is_refused"),
    [
        ("me", [], False),
        ("me", ["me"], False),
        ("me", ["me", "eve"], True),
        ("staff", [], True),
        (None, [], True),
    ],
)
def test_a_group_for_a_user_alone_may_write_above(
    site: Backed,
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    members: list[str],
    is_refused: bool,
) -> None:
    """As many systems make one for each user, and let it write by default."""
    disk = site.place / "disk"
    disk.mkdir()
    disk.chmod(0o775)
    group_id = disk.stat().st_gid

    def group(asked: int) -> SimpleNamespace:
        if name is None:
            raise KeyError(asked)
        return SimpleNamespace(gr_name=name, gr_mem=members)

    monkeypatch.setattr(folder_module, "_ROOTS_GROUP", group_id + 1)
    monkeypatch.setattr("grp.getgrgid", group)
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="me"))
    with site.open() as repository:
        if is_refused:
            with pytest.raises(BackupRefusedError, match="another folder"):
                backup.backup(repository, disk / "kept")
        else:
            assert backup.backup(repository, disk / "kept").artifacts == 3


@pytest.mark.parametrize(
    ("owner", "overflow", "id_map", "is_refused"),
    [
        (65534, "65534", "0 1000 1", False),
        (65534, "65534", "0 0 4294967295", True),
        (65534, "65533", "0 1000 1", True),
        (65534, "", "0 1000 1", True),
        (4711, "65534", "0 1000 1", True),
    ],
)
def test_what_belongs_to_the_host_of_a_container_is_no_strangers(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    owner: int,
    overflow: str,
    id_map: str,
    is_refused: bool,
) -> None:
    """Its root is shown as nobody there; where nobody is a user, it is one."""
    monkeypatch.setattr(folder_module, "_OVERFLOW_ID", tmp_path / "overflow")
    monkeypatch.setattr(folder_module, "_ID_MAP", tmp_path / "map")
    (tmp_path / "overflow").write_text(overflow)
    (tmp_path / "map").write_text(f"{id_map}\n")
    assert folder_module._is_trusted(owner) is not is_refused
    assert folder_module._is_trusted(os.geteuid())
    (tmp_path / "map").unlink()
    assert not folder_module._is_trusted(owner)


def test_a_folder_by_a_link_is_the_folder(site: Backed) -> None:
    """A mounted disk may have another name."""
    disk = site.place / "disk"
    disk.mkdir(mode=0o700)
    site.kept.symlink_to(disk)
    assert site.back_up().folder == disk.resolve()
    site.put_back()


def test_one_backup_at_a_time(site: Backed) -> None:
    """The other one is refused, and leaves what is being made alone."""
    site.back_up()
    (site.kept / ".incomplete-x").mkdir()
    with (site.kept / ".lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BackupRefusedError, match="is running"):
            site.back_up()
        assert (site.kept / ".incomplete-x").exists()
    site.back_up()
    assert not (site.kept / ".incomplete-x").exists()


def test_another_restore_is_left_alone(site: Backed) -> None:
    """What a dead one left goes, of the same place only; what lives, or is a link, stays."""
    site.back_up()
    dead, living, other, link = (
        site.place / f".restoring-{name}" for name in ("again-1", "again-2", "else-1", "again-3")
    )
    for folder in (dead, living, other):
        folder.mkdir()
    link.symlink_to(site.root)
    held = os.open(living, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        site.put_back()
    finally:
        os.close(held)
    assert not dead.exists()
    assert living.exists()
    assert other.exists()
    assert link.is_symlink()
    require_all(site.settings)


# ── what is not restored ─────────────────────────────────────────────────────


def test_nothing_is_overwritten(site: Backed) -> None:
    """A folder with anything in it, a link, a file; an empty folder is room enough."""
    site.back_up()
    before = snapshot(site.root)
    with pytest.raises(RepositoryExistsError):
        site.put_back("repository")
    assert snapshot(site.root) == before
    (site.place / "link").symlink_to(site.place / "nowhere")
    (site.place / "file").write_bytes(b"")
    (site.place / "empty").mkdir()
    for name in ("link", "file"):
        with pytest.raises(RepositoryExistsError):
            site.put_back(name)
    site.put_back("empty")
    require_all(site.at("empty"))


def test_what_comes_first_meanwhile_is_not_replaced(
    site: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody makes a repository in the place while the snapshot is copied."""
    site.back_up()
    real = restore._checked

    def checked(*arguments: Any) -> Any:
        (site.place / "again").mkdir()
        (site.place / "again" / "mine").write_bytes(b"mine")
        return real(*arguments)

    monkeypatch.setattr(restore, "_checked", checked)
    with pytest.raises(StorageError):
        site.put_back()
    assert [path.name for path in (site.place / "again").iterdir()] == ["mine"]
    assert not list(site.place.glob(".restoring-*"))


def test_it_is_not_restored_into_its_backup(site: Backed) -> None:
    """The next backup would be refused."""
    site.back_up()
    settings = replace(site.settings, path=site.kept / "again")
    with pytest.raises(BackupRefusedError, match="into the folder of its backup"):
        restore.restore(settings, site.kept)


def test_many_refusals_of_a_revoked_key_hide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many findings are told one by one; the others are counted by what they are."""
    monkeypatch.setattr("sealstore.upkeep.fsck.report.MAX_SHOWN", 2)
    old, new = ed25519_key(1), ed25519_key(2)
    site = Backed(tmp_path, old)
    for number in range(4):
        site.store([number], "a", str(number))
    site.set_keys(old, new)
    revoke_key(site.settings, old.key_id)
    site.store([9], "z", "1")
    report = site.back_up(copy=True)
    site.put_back("sound")
    with closing(sqlite3.connect(site.kept / report.snapshot / "catalogue.sqlite3")) as connection:
        connection.execute("UPDATE artifact SET size = size + 1 WHERE name = 'z'")
        connection.commit()
    require_refused(site, report.snapshot)


def test_the_beginning_of_a_name_is_enough(site: Backed) -> None:
    """Of one snapshot, not of two."""
    names = [site.back_up().snapshot for _ in range(2)]
    with pytest.raises(BackupRefusedError, match="2 snapshots"):
        site.put_back(name=names[0][:6])
    # The seconds are where they begin to differ.
    length = next(at for at in range(30) if names[0][:at] != names[1][:at])
    assert site.put_back(name=names[0][:length]).snapshot.path.name == names[0]


def test_a_snapshot_that_is_not_there(site: Backed) -> None:
    """Neither in an empty folder nor under another name."""
    site.kept.mkdir()
    with pytest.raises(BackupRefusedError, match="no snapshot here"):
        site.put_back()
    site.back_up()
    with pytest.raises(BackupRefusedError, match="no such snapshot"):
        site.put_back(name="../repository")
    with pytest.raises(StorageError):
        restore.restore(site.at("again"), site.place / "nowhere")


def test_another_repository_in_a_place_that_is_remembered(site: Backed, tmp_path: Path) -> None:
    """A backup of another one is not put where this client knows one."""
    with Repository.create(site.place / "other", settings=site.at("other")) as other:
        other.store([1], "x", "1")
    shutil.rmtree(site.place / "other")
    site.back_up()
    with pytest.raises(RepositoryExchangedError):
        site.put_back("other")
    assert not (site.place / "other").exists()


def test_an_older_state_is_a_rollback_until_somebody_accepts_it(site: Backed) -> None:
    """The report says so."""
    site.back_up()
    site.store([5], "b", "1")
    with site.open() as repository:
        size = repository.state.head.size
    shutil.rmtree(site.root)
    assert site.put_back("repository").remembered_size == size
    with pytest.raises(RollbackError):
        site.open()
    site.accept()
    require_all(site.settings)


def test_a_restore_needs_room(site: Backed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked first: a snapshot may claim more than any disk has."""
    site.back_up()
    path = site.kept / snapshots_in(site.kept)[0].path / "objects" / "00" / ("00" * 32)
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(BackupRefusedError, match="there is room for"):
        site.put_back()
    assert not list(site.place.glob(".restoring-*"))


# ── PostgreSQL ───────────────────────────────────────────────────────────────


def test_postgresql_has_its_own_backups(site: Backed) -> None:
    """The way out is in the error."""
    elsewhere = replace(site.settings, database_url="postgresql://nowhere/x")
    with site.open() as repository:
        object.__setattr__(repository.parts, "settings", elsewhere)
        with pytest.raises(BackupRefusedError, match="PostgreSQL") as refused:
            backup.backup(repository, site.kept)
    assert "pg_dump" in str(refused.value.hint)
    site.back_up()
    elsewhere = replace(site.at("again"), database_url="postgresql://nowhere/x")
    with pytest.raises(BackupRefusedError, match="PostgreSQL"):
        restore.restore(elsewhere, site.kept)


# ── what is remembered, and what the doctor says ─────────────────────────────


def record(days: int, size: int = 1) -> BackupRecord:
    at = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return BackupRecord(at=at, folder="kept", snapshot="x", epoch=1, size=size, key_id="0" * 32)


def test_what_was_backed_up_is_remembered(site: Backed) -> None:
    """Where to, and which state."""
    assert last_backup(site.settings) is None
    report = site.back_up()
    found = last_backup(site.settings)
    assert found is not None
    assert (found.folder, found.snapshot, found.size) == (str(site.kept), report.snapshot, 7)


def test_a_backup_that_cannot_be_remembered_is_made(
    site: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the doctor would say that there is none."""

    def refuse(*_: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(backup, "remember_backup", refuse)
    with pytest.warns(RepairWarning, match="not remembered here"):
        report = site.back_up()
    assert [each.path.name for each in snapshots_in(site.kept)] == [report.snapshot]
    site.put_back()


def test_a_full_disk_is_told_as_the_backups(site: Backed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as the repository's, which the doctor looks at."""

    def refuse(*_: object) -> None:
        raise CatalogueError("The database cannot be copied: disk full.")

    monkeypatch.setattr(backup, "copy_database", refuse)
    with pytest.raises(CatalogueError) as refused:
        site.back_up()
    assert "the backup's folder" in str(refused.value.hint)
    assert snapshots_in(site.kept) == []


def test_a_record_that_does_not_decode(site: Backed) -> None:
    """It is refused, with the way out."""
    site.back_up()
    [path] = site.settings.trust_folder.rglob("*.backup")
    path.write_bytes(b"{}")
    with pytest.raises(TrustStateFormatError) as refused:
        last_backup(site.settings)
    assert str(path) in str(refused.value)
    assert doctor(site).level == "wrong"


def doctor(site: Backed, *, writing: bool = True, **changes: Any) -> Check:
    settings = replace(site.settings, **changes)
    keyring = read_keyring_file(settings.keyring_path, outside=settings.path)
    return check_backup(settings, keyring, writing=writing)


def test_what_the_doctor_says(site: Backed) -> None:
    """Never backed up is wrong for whoever stores; an old one with changes since is a note."""
    assert doctor(site).level == "wrong"
    assert doctor(site, writing=False).level == "note"
    remember_backup(site.settings, record(30))
    assert doctor(site).level == "note"
    assert "30 days ago" in doctor(site).text
    remember_backup(site.settings, record(30, size=7))
    assert doctor(site).level == "ok"
    remember_backup(site.settings, record(1))
    assert doctor(site).level == "ok"
    assert doctor(site, database_url="postgresql://nowhere/x").level == "note"
    [key] = read_keyring_file(site.settings.keyring_path, outside=site.root)
    site.back_up()
    site.set_keys(replace(key, state=State.RETIRED), hmac_key(5))
    assert doctor(site).level == "note"
    assert "on your word only" in doctor(site).fix
    site.set_keys(replace(key, state=State.REVOKED), hmac_key(5))
    assert doctor(site).level == "wrong"


def test_a_new_repository_needs_no_backup(tmp_path: Path) -> None:
    """There is nothing in it."""
    assert doctor(Backed(tmp_path)).level == "ok"


# ── the command line ─────────────────────────────────────────────────────────


@pytest.fixture
def shell(site: Backed) -> Site:
    return Site(
        site.root,
        site.settings.keyring_path,
        {"MODEL_REPO_TRUST_STATE": str(site.settings.trust_folder)},
    )


def test_the_commands(site: Backed, shell: Site) -> None:
    """Back up, list, restore."""
    ran = shell.run("backup", site.kept)
    assert "backed up: 3 artifacts, 3 payloads" in ran.out
    assert "keys are not in it" in ran.out + ran.err
    [first] = snapshots_in(site.kept)
    report = shell.run("backup", site.kept, "--keep", "1", "--quick", "--json").json
    assert report["dropped"] == [first.path.name]
    assert (report["linked"], report["copied"]) == (3, 0)
    listed = shell.run("restore", site.kept, "--list", "--json").json["snapshots"]
    assert [each["snapshot"] for each in listed] == [report["snapshot"]]
    assert report["snapshot"] in shell.run("restore", site.kept, "--list").out
    refused = shell.run("restore", site.kept, code=1)
    assert "There is something where the repository is to be" in refused.err
    site.store([9], "b", "2")
    site.root.rename(site.place / "broken")
    ran = shell.run("restore", site.kept, "--snapshot", report["snapshot"][:12])
    assert "all checked" in ran.out
    assert "sealstore trust accept --current" in ran.out
    shutil.rmtree(site.root)
    restored = shell.run("restore", site.kept, "--json").json
    assert (restored["artifacts"], restored["rememberedSize"]) == (3, 8)
    shell.run("trust", "accept", "--current", "--yes")
    shell.run("verify", "--all")


def test_without_keys_nothing_is_restored(site: Backed, shell: Site) -> None:
    """The error says what is missing, and nothing is left."""
    site.back_up()
    site.root.rename(site.place / "broken")
    shell.keyring.unlink()
    refused = shell.run("restore", site.kept, code=1)
    assert "keys are not in a backup: bring the copy" in refused.err
    assert not site.root.exists()
    assert not list(site.place.glob(".restoring-*"))


def test_a_keyring_with_other_keys_restores_nothing(site: Backed) -> None:
    """Nobody whom this client trusts vouches for it."""
    site.back_up()
    site.set_keys(hmac_key(9, state=State.ACTIVE))
    with pytest.raises(BackupRefusedError, match="UNKNOWN_KEY") as refused:
        site.put_back()
    assert "bring the copy of the keyring" in str(refused.value.hint)
