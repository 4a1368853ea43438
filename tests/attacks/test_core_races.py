"""Between the check and the use: the payload's file changes while a load runs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from sealstore import limits
from sealstore.errors import PayloadDigestError, SealstoreError, VerificationError
from sealstore.formats.joblib_format import JoblibFormat
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from tests.sealstore_fixtures import MODEL, Trap, payload_path

pytestmark = [pytest.mark.invariant(1), pytest.mark.usefixtures("bystander")]

MmapMode = Literal["r", "c"] | None
MODES: list[MmapMode] = [None, "r", "c"]

Change = Callable[[Path, bytes], None]


def rewrite(path: Path, data: bytes) -> None:
    """The same file, other bytes."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def truncate(path: Path, _: bytes) -> None:
    path.chmod(0o600)
    os.truncate(path, 0)


def unlink(path: Path, _: bytes) -> None:
    path.unlink()


def rename_over(path: Path, data: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(data)
    other.rename(path)


def link(path: Path, data: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(data)
    path.unlink()
    path.symlink_to(other)


def fifo(path: Path, _: bytes) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: list[Change] = [rewrite, truncate, unlink, rename_over, link, fifo]


def at_the_deserialiser(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> list[bool]:
    """Act in the very moment when a verified payload is handed over to be unpickled."""
    acted = []
    load = JoblibFormat.load

    def load_after(self: JoblibFormat, *arguments: Any, **named: Any) -> object:
        act()
        acted.append(True)
        return load(self, *arguments, **named)

    monkeypatch.setattr(JoblibFormat, "load", load_after)
    return acted


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", MODES)
def test_the_file_is_changed_between_verification_and_unpickling(
    repository: Repository,
    victim: Artifact,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    mode: MmapMode,
) -> None:
    """What is unpickled is the memory that was hashed; the file does not matter any more."""
    path, malicious = payload_path(repository, victim), trap.payload(victim.size)
    acted = at_the_deserialiser(monkeypatch, lambda: change(path, malicious))
    assert repository.load("victim", mmap_mode=mode) == MODEL
    assert acted == [True]
    monkeypatch.undo()
    with pytest.raises(VerificationError):
        repository.load("victim", mmap_mode=mode)
    assert not trap.sprung


LARGE = np.arange(limits.PARALLEL_HASH_BYTES // 8 * 3, dtype=np.float64)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", MODES)
def test_the_file_of_a_large_array_is_changed_while_and_after_it_is_loaded(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, change: Change, mode: MmapMode
) -> None:
    """No view of it is a view of the file, mapped or not, then or later."""
    stored = repository.store(LARGE, "large", "v1")
    path = payload_path(repository, stored)
    acted = at_the_deserialiser(monkeypatch, lambda: change(path, b"\xff" * stored.size))
    array = repository.load("large", mmap_mode=mode)
    assert acted == [True]
    assert np.array_equal(array, LARGE)
    if path.is_file():
        path.chmod(0o600)
        path.write_bytes(b"\xee" * stored.size)
    assert np.array_equal(array, LARGE)


@pytest.mark.parametrize("mode", MODES)
def test_an_array_that_is_written_to_changes_nothing_that_is_stored(
    repository: Repository, mode: MmapMode
) -> None:
    """'c' is copy-on-write in memory, 'r' is read-only; the next load is the stored object."""
    repository.store(LARGE, "large", "v1")
    array = repository.load("large", mmap_mode=mode)
    if mode == "r":
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 42
    else:
        array[:] = 42
        assert array[0] == 42
    assert np.array_equal(repository.load("large", mmap_mode=mode), LARGE)
    assert repository.verify("large").name == "large"


@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_mapped_array_has_no_file(repository: Repository, mode: Literal["r", "c"]) -> None:
    """It is a memmap of sealed memory, so there is no file name to open again or to write to."""
    repository.store(LARGE, "large", "v1")
    array = repository.load("large", mmap_mode=mode)
    assert isinstance(array, np.memmap)
    assert array.filename is None
    assert array.flags.writeable is (mode == "c")


# ── while the file is being read ─────────────────────────────────────────────


@pytest.mark.parametrize("change", [rewrite, truncate])
@pytest.mark.parametrize(("call", "mode"), [("preadv", None), ("sendfile", "r"), ("sendfile", "c")])
def test_the_open_file_is_changed_while_it_is_read(
    repository: Repository,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    call: str,
    mode: MmapMode,
) -> None:
    """The first half genuine, the second half not: that is neither, and refused."""
    stored = repository.store(LARGE, "large", "v1")
    path = payload_path(repository, stored)
    real = getattr(os, call)
    calls = []

    def read_then_change(*arguments: Any) -> Any:
        if call == "sendfile":
            arguments = (*arguments[:3], min(arguments[3], stored.size // 3 + 1))
        count = real(*arguments)
        calls.append(count)
        if len(calls) == 1:
            change(path, trap.payload(stored.size))
        return count

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", read_then_change)
        with pytest.raises(VerificationError):
            repository.load("large", mmap_mode=mode)
    assert calls


@pytest.mark.parametrize("change", [unlink, rename_over, link, fifo])
def test_the_name_is_changed_while_the_file_is_read(
    repository: Repository, trap: Trap, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    """The file that was opened is read to its end; nothing is opened by name again."""
    stored = repository.store(LARGE, "large", "v1")
    path = payload_path(repository, stored)
    real = os.preadv
    calls: list[None] = []

    def change_then_read(*arguments: Any) -> int:
        if not calls:
            change(path, trap.payload(stored.size))
        calls.append(None)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("os.preadv", change_then_read)
        assert np.array_equal(repository.load("large"), LARGE)
    with pytest.raises(VerificationError):
        repository.load("large")


def test_the_file_is_exchanged_for_a_link_after_it_was_looked_at(
    repository: Repository, victim: Artifact, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking at the name and opening it there is nothing to win."""
    path = payload_path(repository, victim)
    real_stat = os.stat

    def stat_then_exchange(name: Any, *arguments: Any, **named: Any) -> os.stat_result:
        status = real_stat(name, *arguments, **named)
        if name == path.name:
            link(path, trap.payload(victim.size))
        return status

    with monkeypatch.context() as patch:
        patch.setattr("os.stat", stat_then_exchange)
        with pytest.raises(VerificationError, match="symbolic link"):
            repository.load("victim")


# ── another process ──────────────────────────────────────────────────────────

ATTACKER = """
import os, sys
path, good, bad = sys.argv[1:]
good, bad = open(good, "rb").read(), open(bad, "rb").read()
os.chmod(path, 0o600)
print("ready", flush=True)
turn = 0
while True:
    data = (good, bad)[turn % 2]
    turn += 1
    if turn % 3 == 0:
        with open(path, "r+b") as file:
            file.write(data)
    elif turn % 3 == 1:
        with open(path + ".new", "wb") as file:
            file.write(data)
        os.replace(path + ".new", path)
    else:
        os.truncate(path, len(data) // 2)
        with open(path, "r+b") as file:
            file.write(data)
"""


@pytest.mark.parametrize("mode", MODES)
def test_another_process_rewrites_the_file_without_pause(
    repository: Repository, victim: Artifact, trap: Trap, tmp_path: Path, mode: MmapMode
) -> None:
    """Each of many loads gives the signed object or is refused, and no other thing happens."""
    path = payload_path(repository, victim)
    (tmp_path / "good").write_bytes(path.read_bytes())
    (tmp_path / "bad").write_bytes(trap.payload(victim.size))
    program = [sys.executable, "-I", "-c", textwrap.dedent(ATTACKER)]
    attacker = subprocess.Popen(
        [*program, str(path), str(tmp_path / "good"), str(tmp_path / "bad")],
        stdout=subprocess.PIPE,
    )
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"ready\n"
        outcomes = [outcome(repository, mode) for _ in range(150)]
    finally:
        attacker.kill()
        attacker.communicate()
    assert set(outcomes) <= {"loaded", "VERIFICATION"}
    assert not trap.sprung


def outcome(repository: Repository, mode: MmapMode) -> str:
    try:
        loaded = repository.load("victim", mmap_mode=mode)
    except VerificationError:
        return "VERIFICATION"
    except SealstoreError as error:
        return error.code
    assert loaded == MODEL
    return "loaded"


# ── the order ────────────────────────────────────────────────────────────────


def test_nothing_is_handed_to_the_deserialiser_before_its_digest_holds(
    repository: Repository, victim: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deserialiser is reached by a verified payload, and by nothing else."""
    acted = at_the_deserialiser(monkeypatch, lambda: None)
    path = payload_path(repository, victim)
    genuine = path.read_bytes()
    rename_over(path, bytes([genuine[0] ^ 1]) + genuine[1:])
    with pytest.raises(PayloadDigestError):
        repository.load("victim")
    assert acted == []
    rename_over(path, genuine)
    assert repository.load("victim") == MODEL
    assert acted == [True]


def test_a_load_opens_the_payload_once(
    repository: Repository, victim: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look, one descriptor: no second opening by name could find another file."""
    opened = []
    real_open = os.open

    def open_(name: Any, *arguments: Any, **named: Any) -> int:
        if victim.digests.sha256 in str(name):
            opened.append(name)
            if len(opened) > 1:
                raise OSError(errno.EIO, "opened twice")
        return real_open(name, *arguments, **named)

    monkeypatch.setattr("os.open", open_)
    assert repository.load("victim") == MODEL
    assert opened == [victim.digests.sha256]
