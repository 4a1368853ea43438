"""The trust state of a location: seen once, advanced, never set back but by an operator."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealstore.default_folders import default_trust_folder
from sealstore.errors import (
    FirstUseError,
    KnownLocationError,
    ProofError,
    RepositoryExchangedError,
    TrustStateError,
    TrustStateFormatError,
)
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.trust import operating, store
from sealstore.trust.locations import known_locations
from sealstore.trust.record import TrustRecord, encode_record
from sealstore.trust.store import FirstUse, TrustStore, folder_location
from tests.ledger_trees import LATER
from tests.sealstore_fixtures import OTHER_REPOSITORY_ID, open_descriptors, snapshot
from tests.trust_points import (
    FORKED,
    LOCATION,
    LOG_LOCATION,
    Prover,
    access_point,
    point,
    record,
)

Open = Callable[..., TrustStore]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "trust"


@pytest.fixture
def reopen(folder: Path, tmp_path: Path) -> Open:
    """Another process's view of the same trust state."""

    def open_store(location: str = LOCATION, first_use: FirstUse = FirstUse.RECORD) -> TrustStore:
        return TrustStore(folder, location, outside=tmp_path / "models", first_use=first_use)

    return open_store


@pytest.fixture
def trust(reopen: Open) -> TrustStore:
    return reopen()


def proven(trust: TrustStore, at: HistoryCheckpoint, prover: Prover | None = None) -> TrustRecord:
    return trust.advance(at, prove=prover or Prover())


def no(_older: int, _newer: int) -> list[bytes]:
    raise AssertionError("no proof is needed")


# ── seen for the first time ──────────────────────────────────────────────────


def test_the_first_use_is_remembered(trust: TrustStore, reopen: Open) -> None:
    """What was seen once is what every other process of this user expects."""
    assert trust.read() is None
    assert trust.expected() is None
    assert not operating.is_known(trust)
    operating.require_unknown(trust)
    assert trust.advance(point(3), prove=no) == record(3)
    for each in (trust, reopen()):
        assert each.read() == each.expected() == record(3)
        assert operating.is_known(each)


def test_looking_leaves_nothing(trust: TrustStore, folder: Path) -> None:
    """Neither a folder nor a lock is made for reading."""
    trust.read()
    trust.expected()
    operating.is_known(trust)
    assert not operating.forget(trust)
    assert trust.advance_access(LOG_LOCATION, access_point(3), prove=no) is None
    assert known_locations(folder) == []
    assert not folder.parent.exists()


def test_a_first_use_can_be_forbidden(reopen: Open, folder: Path) -> None:
    """Nothing is taken for what it says; a checkpoint is asked for."""
    trust = reopen(first_use=FirstUse.REFUSE)
    assert trust.read() is None
    for use in (trust.expected, lambda: trust.advance(point(3), prove=no)):
        with pytest.raises(FirstUseError, match="sealstore trust init --checkpoint FILE") as caught:
            use()
        assert caught.value.code == "FIRST_USE"
    assert not operating.is_known(trust)
    operating.begin(trust, point(3))
    assert trust.expected() == record(3)
    assert proven(trust, point(9)).point == point(9)
    operating.forget(trust)
    with pytest.raises(FirstUseError):
        trust.advance(point(9), prove=no)


def test_the_clock_of_the_first_use_is_remembered(trust: TrustStore) -> None:
    """Where it was found good enough to judge the head's age."""
    now = datetime(2026, 11, 24, tzinfo=UTC)
    midnight = "2026-11-24T00:00:00.000000Z"
    assert trust.advance(point(3), prove=no, now=now) == record(3, newest_time=midnight)


def test_locations_are_apart(trust: TrustStore, reopen: Open) -> None:
    """What one repository was seen at says nothing of another."""
    other = reopen("s3://bucket/models")
    proven(trust, point(9))
    assert other.read() is None
    proven(other, point(3, repository=OTHER_REPOSITORY_ID))
    assert reopen().read() == record(9)
    assert trust.path != other.path


# ── advanced ─────────────────────────────────────────────────────────────────


def test_what_is_remembered_advances(trust: TrustStore, reopen: Open) -> None:
    """Each newer point that extends the last takes its place."""
    prover = Prover()
    for size in (0, 1, 4, 5, 12):
        assert proven(trust, point(size), prover) == record(size)
    assert prover.asked == [(0, 1), (1, 4), (4, 5), (5, 12)]
    assert reopen().read() == record(12)


def test_nothing_is_written_where_nothing_is_new(
    trust: TrustStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same point, and an older one of the same history, leave the file alone."""
    proven(trust, point(9))
    before = trust.path.stat()
    monkeypatch.setattr("os.rename", None)
    assert trust.advance(point(9), prove=no) == record(9)
    assert proven(trust, point(5)) == record(9)
    assert trust.path.stat() == before


def test_the_same_point_takes_no_lock(trust: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at nearly every load."""
    proven(trust, point(9))
    monkeypatch.setattr("fcntl.flock", None)
    assert trust.advance(point(9), prove=no) == record(9)


def test_what_another_process_has_seen_counts(trust: TrustStore, reopen: Open) -> None:
    """Each begins with what is there now, not with what it read before."""
    first, second = trust, reopen()
    proven(first, point(3))
    proven(second, point(9))
    assert proven(first, point(5)) == record(9)
    assert proven(first, point(12)) == record(12)
    assert second.read() == record(12)


def test_a_refusal_changes_nothing(trust: TrustStore, folder: Path) -> None:
    """A fork, another repository and what nobody can prove leave what is remembered."""
    proven(trust, point(9))
    before = snapshot(folder)
    for shown, error in (
        (point(12, FORKED), ProofError),
        (point(9, FORKED), ProofError),
        (point(5, FORKED), ProofError),
        (point(12, repository=OTHER_REPOSITORY_ID), RepositoryExchangedError),
        (point(12, epoch=2), RepositoryExchangedError),
    ):
        with pytest.raises(error):
            proven(trust, shown)
        assert snapshot(folder) == before
    with pytest.raises(ZeroDivisionError):
        trust.advance(point(12), prove=lambda _older, _newer: [bytes(1 // 0)])
    assert snapshot(folder) == before
    assert proven(trust, point(12)) == record(12)


def test_a_refusal_leaves_no_lock_and_no_descriptor(trust: TrustStore, reopen: Open) -> None:
    """The next process is not kept waiting."""
    proven(trust, point(9))
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(ProofError):
            proven(trust, point(9, FORKED))
    assert open_descriptors() == before
    assert proven(reopen(), point(12)) == record(12)


def test_the_clock_alone_is_written_down_now_and_then(trust: TrustStore) -> None:
    """An hour later, with nothing new in the repository."""
    proven(trust, point(3))
    for minute, newest in ((59, "12:00:00"), (60, "13:00:00"), (30, "13:00:00")):
        now = datetime(2026, 11, 23, 12, tzinfo=UTC).replace(
            hour=12 + minute // 60, minute=minute % 60
        )
        found = trust.advance(point(3), prove=no, now=now)
        assert found == trust.read() == record(3, newest_time=f"2026-11-23T{newest}.000000Z")


def test_access_logs_are_remembered_beside_the_history(trust: TrustStore, reopen: Open) -> None:
    """They survive what happens to the history, and the other way round."""
    proven(trust, point(3))
    prover = Prover()
    trust.advance_access(LOG_LOCATION, access_point(5), prove=no)
    assert trust.advance_access(LOG_LOCATION, access_point(5), prove=no) == trust.read()
    proven(reopen(), point(9))
    trust.advance_access(LOG_LOCATION, access_point(7), prove=prover)
    expected = record(9, access={LOG_LOCATION: access_point(7)})
    assert trust.read() == reopen().read() == expected
    assert reopen().advance_access(LOG_LOCATION, access_point(6), prove=prover) == expected
    assert prover.asked == [(5, 7), (6, 7)]
    with pytest.raises(ProofError):
        trust.advance_access(LOG_LOCATION, access_point(9, FORKED), prove=prover)
    assert trust.read() == expected


def test_an_access_log_without_its_repository_is_not_remembered(
    trust: TrustStore, reopen: Open
) -> None:
    """Also where the repository was forgotten in between."""
    proven(trust, point(3))
    trust.read()

    class Forgetful(TrustStore):
        def read(self) -> TrustRecord | None:
            found = super().read()
            operating.forget(reopen())
            return found

    forgetful = Forgetful(trust.folder, LOCATION, outside=trust.folder / "elsewhere")
    assert forgetful.advance_access(LOG_LOCATION, access_point(3), prove=no) is None
    assert not operating.is_known(trust)


# ── what an operator says ────────────────────────────────────────────────────


def test_a_known_location_is_no_place_to_begin(trust: TrustStore, folder: Path) -> None:
    """An emptied folder does not become a new repository, whatever state the memory is in."""
    operating.begin(trust, point(3))
    assert trust.read() == record(3)
    for content in (None, b"", b"damaged"):
        if content is not None:
            trust.path.write_bytes(content)
        before = snapshot(folder)
        for begin in (
            lambda: operating.require_unknown(trust),
            lambda: operating.begin(trust, point(9)),
        ):
            with pytest.raises(KnownLocationError, match="sealstore trust forget") as refusal:
                begin()
            assert refusal.value.code == "KNOWN_LOCATION"
        assert snapshot(folder) == before
    trust.path.unlink()
    trust.path.symlink_to("nowhere")
    with pytest.raises(KnownLocationError):
        operating.begin(trust, point(9))


def test_an_operator_can_accept_an_older_state(trust: TrustStore, reopen: Open) -> None:
    """After a restore from a backup; what was remembered is kept beside it."""
    proven(trust, point(9))
    trust.advance_access(LOG_LOCATION, access_point(5), prove=no)
    before = trust.path.read_bytes()
    kept = operating.accept(trust, point(3))
    assert kept is not None
    assert kept.read_bytes() == before
    assert kept.name == f"{trust.path.name}.replaced-1"
    assert trust.read() == reopen().read() == record(3)
    assert proven(trust, point(4)) == record(4)
    again = operating.accept(trust, point(1, repository=OTHER_REPOSITORY_ID, epoch=7))
    assert again is not None
    assert again.name == f"{trust.path.name}.replaced-2"
    assert kept.read_bytes() == before
    assert encode_record(record(4)) == again.read_bytes()


def test_an_operator_can_accept_where_nothing_is_remembered(trust: TrustStore) -> None:
    """There is nothing to keep."""
    assert operating.accept(trust, point(3)) is None
    assert trust.read() == record(3)


@pytest.mark.parametrize("damage", ["empty", "garbage", "link", "mode", "fifo"])
def test_accepting_is_the_way_out_of_a_damaged_state(trust: TrustStore, damage: str) -> None:
    """Whatever is in the place, it is kept aside, and loads go on."""
    proven(trust, point(9))
    path = trust.path
    if damage == "mode":
        path.chmod(0o666)
    else:
        path.unlink()
        if damage == "link":
            path.symlink_to("/etc/passwd")
        elif damage == "fifo":
            os.mkfifo(path)
        else:
            path.write_bytes(b"" if damage == "empty" else b"\x00garbage")
    for use in (trust.read, lambda: trust.advance(point(9), prove=no)):
        with pytest.raises(TrustStateError):
            use()
    status = path.lstat()
    kept = operating.accept(trust, point(9))
    assert kept is not None
    assert kept.lstat().st_mode == status.st_mode
    assert trust.read() == record(9)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not path.is_symlink()


def test_a_folder_in_the_place_is_not_replaced(trust: TrustStore) -> None:
    """Nobody knows what is in it: the operator moves it away."""
    proven(trust, point(9))
    trust.path.unlink()
    trust.path.mkdir()
    for change in (lambda: operating.accept(trust, point(3)), lambda: operating.forget(trust)):
        with pytest.raises(TrustStateError, match="trust state cannot be") as refusal:
            change()
        assert refusal.value.path == str(trust.path)
    assert trust.path.is_dir()


def test_what_is_remembered_can_be_forgotten(trust: TrustStore, reopen: Open) -> None:
    """The next use is the first; other locations stay."""
    other = reopen("s3://bucket/models")
    for each in (trust, other):
        proven(each, point(9))
    assert operating.forget(trust)
    assert not operating.forget(trust)
    assert trust.read() is None
    assert reopen().read() is None
    assert other.read() is not None
    operating.begin(trust, point(3, FORKED))


def test_forgetting_what_was_just_forgotten_is_no_error(
    trust: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two operators may do it at once."""
    proven(trust, point(9))
    monkeypatch.setattr(operating, "is_known", lambda _: True)
    assert operating.forget(trust)
    assert not operating.forget(trust)


# ── read at each load ────────────────────────────────────────────────────────


@pytest.fixture
def settled(trust: TrustStore, monkeypatch: pytest.MonkeyPatch) -> TrustStore:
    """A trust state whose file is old enough not to be read again."""
    proven(trust, point(9))
    monkeypatch.setattr(store, "_TICK_NANOSECONDS", -(1 << 62))
    trust.read()
    return trust


def test_a_file_that_has_not_changed_is_not_read_again(
    settled: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load pays for one look at the file's status."""
    remembered = settled.read()
    monkeypatch.setattr("os.open", None)
    assert settled.read() is remembered
    assert settled.advance(point(9), prove=no) is remembered


def test_a_file_that_has_just_changed_is_read_again(
    trust: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one tick of the clock another file can look like it in every respect."""
    proven(trust, point(9))
    monkeypatch.setattr(store, "_TICK_NANOSECONDS", 1 << 62)
    assert trust.read() == record(9)
    assert trust.read() is not trust.read()


@pytest.mark.parametrize("change", ["replaced", "edited", "mode", "link", "removed"])
def test_every_change_is_noticed(settled: TrustStore, tmp_path: Path, change: str) -> None:
    """By another process, an operator or somebody else, with the same size and time."""
    path, status = settled.path, settled.path.stat()
    times = (status.st_atime_ns, status.st_mtime_ns)
    data = encode_record(record(9, newest_time=LATER))
    assert len(data) == status.st_size
    if change == "replaced":
        new = tmp_path / "new"
        new.write_bytes(data)
        os.utime(new, ns=times)
        new.rename(path)
        assert settled.read() == record(9, newest_time=LATER)
    elif change == "edited":
        path.write_bytes(data)
        os.utime(path, ns=times)
        assert settled.read() == record(9, newest_time=LATER)
    elif change == "mode":
        path.chmod(0o622)
        with pytest.raises(TrustStateError, match="0622"):
            settled.read()
    elif change == "link":
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
        with pytest.raises(TrustStateError, match="symbolic link"):
            settled.read()
    else:
        path.unlink()
        assert settled.read() is None


def test_what_is_damaged_is_not_answered_from_memory(settled: TrustStore) -> None:
    """A worker that runs for weeks refuses like one that has just begun."""
    settled.path.write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(TrustStateFormatError) as refusal:
            settled.read()
        assert refusal.value.path == str(settled.path)
        assert str(settled.path) in str(refusal.value)


def test_threads_share_one(trust: TrustStore) -> None:
    """Each sees what is there, and the newest stays."""
    failures: list[Exception] = []

    def work(first: int) -> None:
        try:
            for size in range(first, 13, 3):
                assert proven(trust, point(size)).point.size >= size
                found = trust.read()
                assert found is not None
                assert found.point.size >= size
        except Exception as error:  # noqa: BLE001 (told below)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert trust.read() == record(12)


# ── locations ────────────────────────────────────────────────────────────────


def test_a_folders_location_is_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is spelled; a link is not followed, so that leading it elsewhere is noticed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to("models")
    expected = f"file://{tmp_path}/models"
    for spelling in ("models", "./models/", "x/../models", tmp_path / "models"):
        assert folder_location(Path(spelling)) == expected
    assert folder_location(Path("link")) == f"file://{tmp_path}/link"
    assert folder_location(Path("/srv/mo dels/ü")) == "file:///srv/mo%20dels/%C3%BC"
    assert folder_location(Path("/srv/\udcff")) == "file:///srv/%FF"


def test_a_location_that_is_no_text_is_refused_where_it_would_be_written(reopen: Open) -> None:
    """Nothing is remembered under a name that cannot be told."""
    trust = reopen("x\ud800")
    assert trust.read() is None
    with pytest.raises(TrustStateError, match="has no form"):
        proven(trust, point(3))
    assert not operating.is_known(trust)


def test_the_default_folder_lies_in_the_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME says where."""
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_trust_folder() == Path("/somewhere/sealstore/trust")


def test_all_that_is_remembered_is_listed(trust: TrustStore, reopen: Open, folder: Path) -> None:
    """Locks, what is kept aside and other files are not."""
    other, damaged, moved = (reopen(f"file:///{name}") for name in ("other", "damaged", "moved"))
    proven(trust, point(9))
    operating.accept(trust, point(3))
    for each in (other, damaged):
        proven(each, point(5))
    damaged.path.write_bytes(b"{")
    moved.path.write_bytes(other.path.read_bytes())
    (folder / "notes.json").touch()
    found = {each.path: each for each in known_locations(folder)}
    assert list(found) == sorted([trust.path, other.path, damaged.path, moved.path])
    assert found[trust.path].found == record(3)
    assert found[other.path].found == other.read()
    for bad in (damaged, moved):
        error = found[bad.path].found
        assert isinstance(error, TrustStateFormatError)
        assert error.path == str(bad.path)


def test_what_vanishes_while_it_is_listed_is_told(
    trust: TrustStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing does not fail because of one file."""
    monkeypatch.setattr("os.listdir", lambda _: [trust.path.name])
    folder.mkdir(parents=True)
    [found] = known_locations(folder)
    assert found.path == trust.path
    assert isinstance(found.found, TrustStateFormatError)
