"""Backups and restores that die at any step: a snapshot is whole, or it is none; so is a place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import RepositoryExistsError
from sealstore.repository.facade import Repository
from sealstore.upkeep.backup.snapshot import snapshots_in
from sealstore.upkeep.fsck import fsck
from tests.faults import backup_operations
from tests.faults.backup_operations import (
    FIRST,
    SECOND,
    back_up,
    back_up_all,
    keep_one,
    put_back,
    restore_all,
    settings,
)
from tests.faults.conftest import Deaths
from tests.faults.gc_operations import check, opened
from tests.faults.operations import KEYRING, Done, model
from tests.faults.soundness import contents

pytestmark = [pytest.mark.invariant(3), pytest.mark.slow]


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one snapshot, and changes since; copied, never changed."""
    place = tmp_path_factory.mktemp("backed-up") / "place"
    backup_operations.fill(place)
    return place


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two snapshots, and no repository; copied, never changed."""
    place = tmp_path_factory.mktemp("lost") / "place"
    backup_operations.lose(place)
    return place


def restored(place: Path, snapshot: str | None = None) -> set[tuple[str, str, int]]:
    """What a snapshot gives back."""
    put_back(place, "again", snapshot)
    found = of_place(place, "again")
    shutil.rmtree(place / "again")
    shutil.rmtree(place / "trust-again")
    return found


def of_place(place: Path, name: str = "repository") -> set[tuple[str, str, int]]:
    """What a restored repository has."""
    here = settings(place, name)
    with Repository.open(keyring=KEYRING, settings=here) as repository:
        return contents(repository)


@pytest.mark.parametrize("operation", [back_up_all, keep_one])
def test_a_killed_backup_leaves_whole_snapshots(
    operation: Callable[[Path, Done], None], backed_up: Path, deaths: Deaths
) -> None:
    """Each restores; the repository has noticed nothing; the next backup clears up."""
    [first] = [each.path.name for each in snapshots_in(backed_up / "kept")]
    for place, done in deaths(operation, backed_up):
        names = [each.path.name for each in snapshots_in(place / "kept")]
        assert first in names or (operation is keep_one and len(names) == 1)
        for [name] in done.entries():
            assert names[-1] == name
        for name in names:
            assert restored(place, name) == (FIRST if name == first else SECOND)
        assert check(place).findings == []
        back_up(place)
        left = {path.name for path in (place / "kept").iterdir()}
        assert left == {".lock", *(each.path.name for each in snapshots_in(place / "kept"))}
        assert len(left) == 1 + len(names) + 1
        assert restored(place) == SECOND
        with opened(place) as repository:
            assert contents(repository) == SECOND


def test_a_killed_restore_is_done_or_not_begun(lost: Path, deaths: Deaths) -> None:
    """Nothing is in the repository's place, or all of it; the next restore clears up."""
    for place, done in deaths(restore_all, lost):
        if (place / "repository").exists():
            with pytest.raises(RepositoryExistsError):
                put_back(place)
        else:
            assert done.entries() == []
            assert put_back(place).checked.artifacts == len(SECOND)
            assert [path for path in place.iterdir() if path.name.startswith(".")] == []
        assert of_place(place) == SECOND
        with Repository.open(keyring=KEYRING, settings=settings(place)) as repository:
            # The first one was removed, and its number stays taken.
            assert repository.store(model("fraud", "v1", 3), "fraud", "v1").revision == 3
        assert fsck(settings(place), keyring=KEYRING, threads=1).findings == []


# ── what is synced before it gets its name ───────────────────────────────────


class Synced:
    """Which inodes are synced, and what is not yet when a folder is renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inodes: set[int] = set()
        self.renamed: list[str] = []
        real_sync, real_rename = os.fsync, os.rename

        def fsync(descriptor: int) -> None:
            real_sync(descriptor)
            self.inodes.add(os.fstat(descriptor).st_ino)

        def rename(source: Any, target: Any, **keywords: Any) -> None:
            if Path(source).is_dir():
                self.renamed.append(Path(target).name)
                assert self.missing(Path(source)) == []
            real_rename(source, target, **keywords)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "rename", rename)

    def missing(self, folder: Path) -> list[str]:
        """What in ``folder`` has not been synced since, hard links to older files aside."""
        return [
            str(path.relative_to(folder))
            for path in (folder, *folder.rglob("*"))
            if path.stat().st_ino not in self.inodes
            and (path.is_dir() or path.stat().st_nlink == 1)
        ]


def test_a_snapshot_is_synced_before_it_gets_its_name(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    shutil.copytree(backed_up, place)
    synced = Synced(monkeypatch)
    report = back_up(place)
    assert synced.renamed == [report.snapshot]
    assert (place / "kept").stat().st_ino in synced.inodes


def test_a_restored_repository_is_synced_before_it_gets_its_place(
    lost: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    shutil.copytree(lost, place)
    synced = Synced(monkeypatch)
    put_back(place)
    assert synced.renamed == ["repository"]
    assert place.stat().st_ino in synced.inodes
