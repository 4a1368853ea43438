"""What is made durable before what: the order from which everything else about crashes follows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue.contract import Connection
from tests.faults.operations import (
    CHANGES,
    KEYRING,
    ROTATING,
    TO_REVOKE,
    model,
    without_nameless_files,
)

pytestmark = pytest.mark.invariant(3)

PROJECT = Path(__file__).resolve().parents[2]


COMMIT = ("commit", 0)


@dataclass
class Record:
    """What was done, in order: each call with the inode that it synced or gave a name to."""

    steps: list[tuple[str, int]] = field(default_factory=list)

    def require_order(self, *steps: tuple[str, Path] | tuple[str, int]) -> None:
        """Each of ``steps`` was done exactly once, and in this order."""
        wanted = [
            (call, about.stat().st_ino) if isinstance(about, Path) else (call, about)
            for call, about in steps
        ]
        assert [step for step in self.steps if step in wanted] == wanted, self.steps


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """Records calls that sync or name files. They are made as ever."""
    record = Record()

    def recorded(name: str, inode: Callable[..., int]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            result = real(*arguments, **keywords)
            record.steps.append((name, inode(*arguments, **keywords)))
            return result

        monkeypatch.setattr(os, name, call)

    def of_target(_source: str, target: str, *, dst_dir_fd: int | None = None, **_: Any) -> int:
        return os.stat(target, dir_fd=dst_dir_fd, follow_symlinks=False).st_ino

    recorded("fsync", lambda descriptor: os.fstat(descriptor).st_ino)
    recorded("link", of_target)
    recorded("rename", of_target)
    recorded("replace", of_target)
    recorded("mkdir", lambda name, *_, dir_fd=None: os.stat(name, dir_fd=dir_fd).st_ino)
    return record


def note_commits(repository: Repository, record: Record) -> None:
    """Have the catalogue's commits recorded."""
    engine = repository.catalogue.engine
    writing = engine.writing

    @contextmanager
    def writing_noted(**options: Any) -> Iterator[Connection]:
        with writing(**options) as connection:
            yield connection
        record.steps.append(COMMIT)

    vars(engine)["writing"] = writing_noted


@pytest.mark.parametrize("is_nameless", [True, False], ids=["nameless", "named"])
def test_a_payload_is_durable_before_the_catalogue_names_it(
    repository: Repository, record: Record, is_nameless: bool
) -> None:
    """Content, then name, then the name's folder are synced; only then the database commits.

    What the client remembers comes after the commit: it must never be ahead of the repository.
    """
    note_commits(repository, record)
    if is_nameless:
        artifact = repository.store(model("m", "t", 1), "m", "t")
    else:
        with without_nameless_files():
            artifact = repository.store(model("m", "t", 1), "m", "t")
    folder = repository.root / "objects" / artifact.digests.sha256[:2]
    payload = folder / artifact.digests.sha256
    record.require_order(
        ("fsync", payload),
        ("mkdir", folder),
        ("fsync", folder.parent),
        ("link", payload),
        ("fsync", folder),
        COMMIT,
        ("rename", trust_path(repository)),
        ("link", repository.root / "statements/m/t/1.json"),
    )


def trust_path(repository: Repository) -> Path:
    """Where this client remembers the repository."""
    return repository.settings.trust_store(repository.root).path


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_durable_before_it_is_remembered(
    root: Path, record: Record, change: str
) -> None:
    """Whatever changes the repository commits first; what is remembered is synced, then named."""
    with Repository.open(root, keyring=ROTATING) as repository:
        note_commits(repository, record)
        record.steps.clear()
        CHANGES[change](repository)
        folder = trust_path(repository).parent.stat().st_ino
    steps = record.steps
    named = [place for place, step in enumerate(steps) if step == ("fsync", folder)]
    assert min(named) > steps.index(COMMIT)
    for place in named:
        (synced, inode), (renamed, same) = steps[place - 2 : place]
        assert (synced, renamed, same) == ("fsync", "rename", inode)


def test_a_settings_file_shows_only_what_holds(root: Path, record: Record) -> None:
    """repository.json is replaced after the commit, synced before it has its name."""
    with Repository.open(root, keyring=KEYRING) as repository:
        note_commits(repository, record)
        record.steps.clear()
        repository.change_settings(revoked_keys=TO_REVOKE)
    path = root / "repository.json"
    record.require_order(COMMIT, ("fsync", path), ("rename", path), ("fsync", root))


def test_a_mirrored_statement_is_durable_before_it_has_its_name(
    repository: Repository, record: Record
) -> None:
    """A statement's content is synced before the link."""
    repository.store(model("m", "t", 1), "m", "t")
    statement = repository.root / "statements/m/t/1.json"
    record.require_order(("fsync", statement), ("link", statement))


def test_the_settings_come_last_of_the_repository(tmp_path: Path, record: Record) -> None:
    """repository.json is named when all else is there, synced before and its folder afterwards.

    Only then is the repository remembered: a location that is known and empty is one that lost it.
    """
    root = tmp_path / "repository"
    with Repository.create(root, keyring=KEYRING) as repository:
        path = trust_path(repository)
    record.require_order(
        ("mkdir", root),
        ("fsync", tmp_path),
        ("mkdir", root / "objects"),
        ("mkdir", root / "statements"),
        ("fsync", root / "repository.json"),
        ("rename", root / "repository.json"),
        ("fsync", root),
        ("fsync", path),
        ("rename", path),
        ("fsync", path.parent),
    )
    assert record.steps[-1] == ("fsync", path.parent.stat().st_ino)


def test_a_keyring_is_durable_before_it_replaces_the_old_one(
    tmp_path: Path, record: Record
) -> None:
    """The new keyring is synced, renamed, and its folder synced."""
    path = tmp_path / "keyring.json"
    write_keyring_file(path, KEYRING)
    record.require_order(("fsync", path), ("rename", path), ("fsync", tmp_path))


# ── the same from outside, SQLite's own calls included ───────────────────────

STORE = """
import os, sys
from pathlib import Path
from sealstore.repository.facade import Repository
from tests.faults.operations import KEYRING, model
with Repository.open(sys.argv[1], keyring=KEYRING) as repository:
    repository.store(model("m", "t", 1), "m", "t")
    os.write(1, b"acknowledged")
    os._exit(0)
"""
TRACED = "fsync,fdatasync,link,linkat,pwrite64,rename,renameat,renameat2,write"


@pytest.fixture
def strace() -> str:
    """strace, where it is installed and may trace a child."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    trial = subprocess.run([program, "-qq", "true"], capture_output=True, check=False)
    if trial.returncode:
        pytest.skip("strace may not trace here")
    return program


def test_the_system_sees_the_same_order(root: Path, tmp_path: Path, strace: str) -> None:
    """Payload, link, folder, then the write-ahead log, synced too; then it is remembered."""
    log, trust = tmp_path / "strace.log", tmp_path / "trust"
    subprocess.run(
        [
            *(strace, "-f", "-y", "-qq", "-s", "16", "-e", f"trace={TRACED}", "-o", str(log)),
            *(sys.executable, "-c", STORE, str(root)),
        ],
        check=True,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        env=os.environ
        | {
            "MODEL_REPO_TRUST_STATE": str(trust),
            "PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(PROJECT)]),
        },
    )
    # -y shows the path of each descriptor: fsync(4</path>) = 0
    lines = [line.split(" ", 1)[1].strip() for line in log.read_text().splitlines()]

    def last(pattern: str) -> int:
        return max(place for place, line in enumerate(lines) if re.match(pattern, line))

    def first(pattern: str) -> int:
        return min(place for place, line in enumerate(lines) if re.match(pattern, line))

    objects, log_file = re.escape(str(root / "objects")), rf"{re.escape(str(root))}/[^>]*-wal"
    written = last(rf"write\(\d+<{objects}/#\d+")
    synced = first(rf"f(data)?sync\(\d+<{objects}/#\d+")
    linked = first(r"linkat\([^)]*AT_SYMLINK_FOLLOW")
    folder_synced = first(rf"f(data)?sync\(\d+<{objects}/[0-9a-f]{{2}}>")
    begun, committed = first(rf"pwrite64\(\d+<{log_file}>"), last(rf"pwrite64\(\d+<{log_file}>")
    durable = last(rf"f(data)?sync\(\d+<{log_file}>")
    remembered = last(rf"rename\w*\(\d+<{re.escape(str(trust))}>")
    acknowledged = first(r'write\(1<[^>]*>, "acknowledged"')
    order = [written, synced, linked, folder_synced, begun, committed, durable]
    order += [remembered, acknowledged]
    assert order == sorted(order), lines
    assert len(set(order)) == len(order)
