"""Power losses at every call that changes a file, and what is found afterwards.

What the simulation covers: a child does the operation, and each of its calls that change files or
make them durable is recorded as the kernel sees it, SQLite's own included. They are replayed up to
each one, on a disk that knows what was synced (see ``disks``): what was not is lost, kept, lost in
part, torn within a write, or kept without what came before it. From each disk that results, the
repository is opened, with the trust state as the client had it at that very moment: the client is
another machine, which goes on. Both on one machine are tried, too.

What it does not cover: disks that acknowledge a sync and do not make it, or lose what was synced
before; file systems that rename a file in two steps; permissions; several processes that write at
the moment of the loss; PostgreSQL, whose server does the syncing. Where many writes lie between two
syncs, all of them up to each are tried; of what else may be left of them, a sample.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import RepositoryNotFoundError, SealstoreError
from sealstore.keys.keyring import Keyring
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from tests.faults import file_calls, operations
from tests.faults.children import run_all
from tests.faults.disks import Disk, Tree, read_tree, write_tree
from tests.faults.dying import Steps
from tests.faults.file_calls import Call, Cut, Renamed, Synced, Written, identity, record
from tests.faults.operations import (
    KEYRING,
    PRESENT,
    ROTATED,
    ROTATING,
    TO_REVOKE,
    TO_STORE,
    Done,
    opened,
    set_journal,
)
from tests.faults.soundness import (
    proven_accesses,
    proven_history,
    require_that_it_works,
)

pytestmark = [
    pytest.mark.invariant(3),
    pytest.mark.slow,
    pytest.mark.skipif(not file_calls.is_known(), reason="knows no system calls of this machine"),
]

SAMPLES = 30
"""Of the disks that may be left amid many writes, as many are tried of each operation."""
CREATIONS = 40
"""Of those that may be left of a creation, as many are tried."""
THOROUGHLY = 5
"""Of all disks, as many are used further than to see what is there."""


@dataclass(frozen=True)
class Remains:
    """What is there after a power loss.

    Attributes:
        loss: what of the disk was lost, in words.
        after: how many calls were made.
        server: the disk with the repository.
        client: the trust state.
        acknowledged: what the operation had told that is done.
        is_edge: whether the last call was no write, of which there are many between two syncs.
    """

    loss: str
    after: int
    server: Tree
    client: Tree
    acknowledged: bytes
    is_edge: bool

    @contextmanager
    def put_in(self, place: Path) -> Iterator[list[Any]]:
        """Let it be what is there, for the block, which gets what was acknowledged."""
        write_tree(place, self.server, {"trust": None})
        write_tree(place / "trust", self.client)
        try:
            yield [json.loads(line) for line in self.acknowledged.splitlines()]
        except BaseException as error:
            error.add_note(f"after {self.after} calls; left is: {self.loss}")
            raise


@dataclass
class Machines:
    """The server with the repository's folder, and the client with its trust state.

    Args:
        place: the folder of both.
    """

    place: Path

    def __post_init__(self) -> None:
        self.server = Disk(self.place, without=["trust"])
        self.client = Disk(self.place / "trust")

    def apply(self, call: Call) -> bool:
        return self.server.apply(call) or self.client.apply(call)

    def require_complete(self) -> None:
        """Return if what was recorded is all that was done."""
        present = read_tree(self.place).items()
        on_server = {path: each for path, each in present if path.split("/")[0] != "trust"}
        assert self.server.left(self.server.pending) == on_server
        assert self.client.left(self.client.pending) == read_tree(self.place / "trust")

    def remains(self, number: int, call: Call) -> Iterator[Remains]:
        """What may be there if the power fails now, after so many calls and this as the last."""
        is_edge = not isinstance(call, Written | Cut)
        client = self.client.left(self.client.pending)
        acknowledged = client.pop("done", None) or b""
        for loss, kept in self.server.losses():
            yield Remains(loss, number, self.server.left(kept), client, acknowledged, is_edge)
        synced = self.client.left([])
        synced.pop("done", None)
        for loss, kept in [("of both", []), ("of the client", self.server.pending)]:
            yield Remains(loss, number, self.server.left(kept), synced, acknowledged, is_edge)


def every_loss(machines: Machines, calls: list[Call]) -> list[Remains]:
    """What may be there after a power loss during these calls, each state once."""
    certain: list[Remains] = []
    others: list[Remains] = []
    seen = set()
    for number, call in enumerate(calls, 1):
        if not machines.apply(call):
            continue
        for remains in machines.remains(number, call):
            state = hash((*remains.server.items(), *remains.client.items(), remains.acknowledged))
            if state not in seen:
                seen.add(state)
                is_certain = remains.is_edge or remains.loss == "everything"
                (certain if is_certain else others).append(remains)
    machines.require_complete()
    chosen = certain + others[:: max(1, len(others) // SAMPLES)]
    return sorted(chosen, key=lambda remains: remains.after)


def recorded(
    operation: Callable[[Path, Done], None], place: Path, kill_before: int | None = None
) -> list[Call]:
    """The calls of an operation, done by a child that may be killed before one of them."""
    arguments = (place / "repository", Done(place / "trust/done"))
    [calls] = run_all([(record, (operation, arguments, kill_before))])
    return list(calls)


# ── what must be there ───────────────────────────────────────────────────────

Check = Callable[[Repository, list[Any]], None]


def listed(repository: Repository) -> set[tuple[str, str, int]]:
    """Every artifact, verified, and both digests of its payload compared."""
    page = repository.list(limit=100)
    assert page.refused == []
    for artifact in page.artifacts:
        repository.blobs.check(artifact.digests, artifact.size)
    return {(each.name, each.tag, each.revision) for each in page.artifacts}


def require_stored(repository: Repository, acknowledged: list[Any]) -> None:
    found, certain = listed(repository), PRESENT | {tuple(each) for each in acknowledged}
    assert certain <= found <= PRESENT | set(TO_STORE)
    assert len(found) <= len(certain) + 1


def require_removed(repository: Repository, acknowledged: list[Any]) -> None:
    found, removed = listed(repository), {("churn", "2026-10", 1), ("churn", "2026-10", 2)}
    assert found == PRESENT - removed or (found == PRESENT and not acknowledged)


def require_resigned(repository: Repository, acknowledged: list[Any]) -> None:
    assert listed(repository) == PRESENT
    signed_by = repository.get("churn", "2026-10", revision=2).key_id
    old, new = (key.key_id for key in ROTATING)
    assert signed_by in ({new} if acknowledged else {old, new})


def require_settings(repository: Repository, acknowledged: list[Any]) -> None:
    assert listed(repository) == PRESENT
    document = repository.state.document
    last = max((version for (version,) in acknowledged), default=1)
    assert last <= document.version <= last + 1
    assert document.revoked_keys == TO_REVOKE[: document.version - 1]


def require_beaten(repository: Repository, acknowledged: list[Any]) -> None:
    assert listed(repository) == PRESENT
    if acknowledged:
        # Both heads are the new key's.
        with opened(repository.root, ROTATED) as by_new_key:
            by_new_key.load("churn")


def require_accesses(repository: Repository, acknowledged: list[Any]) -> None:
    assert listed(repository) == PRESENT
    recorded = [entry.by.actor for entry in proven_accesses(repository)]
    loads = ["load 1", "load 2", "load 3"]
    assert recorded == loads[: len(recorded)]
    if ["closed"] in acknowledged:
        assert recorded == loads
    else:
        assert len(acknowledged) <= len(recorded)


# ── the operations ───────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def _where_children_may_be_traced(finest_steps: Steps) -> None:
    if finest_steps is not Steps.KERNEL:
        pytest.skip("a process may not trace its children here")


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Path:
    """A place with a filled repository, and a client that remembers it."""
    made = tmp_path / "place"
    made.mkdir()
    root.rename(made / "repository")
    (made / "trust").mkdir(mode=0o700)
    with opened(made / "repository"):
        pass
    return made


def require_nothing_lost(place: Path, found: list[Remains], keyring: Keyring, check: Check) -> None:
    """From whatever is left, it opens, is proven, has all that it should, and goes on."""
    assert len(found) > 20
    thoroughly = max(1, len(found) // THOROUGHLY)
    for number, remains in enumerate(found):
        with (
            remains.put_in(place) as acknowledged,
            opened(place / "repository", keyring) as repository,
        ):
            proven_history(repository)
            if remains.is_edge or remains.loss != "everything":
                check(repository, acknowledged)
                repository.load("churn")
            if number % thoroughly == 0:
                require_that_it_works(repository)


CASES: dict[str, tuple[Callable[[Path, Done], None], Keyring, Check]] = {
    "store": (operations.store, KEYRING, require_stored),
    "store, named": (operations.store_by_temporary_names, KEYRING, require_stored),
    "remove": (operations.remove, KEYRING, require_removed),
    "resign": (operations.resign, ROTATING, require_resigned),
    "settings": (operations.change_settings, KEYRING, require_settings),
    "heartbeat": (operations.beat, ROTATING, require_beaten),
    "load, synced": (operations.load_synced, KEYRING, require_accesses),
    "load": (operations.load_and_remember, KEYRING, require_accesses),
}


@pytest.mark.parametrize("case", CASES)
def test_a_power_loss_takes_back_nothing_that_was_acknowledged(place: Path, case: str) -> None:
    """Whatever was not synced is lost, whenever: all that was acknowledged is there, proven.

    And the client, who goes on, refuses nothing: it remembers no head that the loss took back.
    """
    operation, keyring, check = CASES[case]
    machines = Machines(place)
    found = every_loss(machines, recorded(operation, place))
    require_nothing_lost(place, found, keyring, check)


@pytest.mark.parametrize("case", ["store", "settings", "load"])
def test_with_a_rollback_journal_it_is_the_same(place: Path, case: str) -> None:
    """Where a network file system knows no write-ahead log: nothing acknowledged is taken back."""
    set_journal(place / "repository", "delete")
    operation, keyring, check = CASES[case]
    machines = Machines(place)
    found = every_loss(machines, recorded(operation, place))
    require_nothing_lost(place, found, keyring, check)


def test_a_power_loss_while_a_repository_is_made_leaves_it_or_lets_it_be_made(
    tmp_path: Path,
) -> None:
    """It is there with its trust state, or can be made now; acknowledged, it is there."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "trust").mkdir(mode=0o700)
    machines = Machines(place)
    found = every_loss(machines, recorded(operations.create, place))
    # Making it again takes long: the tables are made by their migrations.
    for remains in found[:: max(1, len(found) // CREATIONS)] + found[-1:]:
        with remains.put_in(place) as acknowledged:
            try:
                repository = opened(place / "repository")
            except RepositoryNotFoundError:
                assert not acknowledged
                operations.create(place / "repository", Done(place / "trust/done"))
                repository = opened(place / "repository")
            with repository:
                assert [entry.event for entry in proven_history(repository)] == ["create"]
                assert proven_accesses(repository) == []
                repository.store(1, "new", "1")
                assert repository.load("new") == 1


@pytest.mark.invariant(2)
@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("reader", [operations.look, operations.accept])
def test_what_a_killed_writer_had_not_synced_is_synced_before_it_is_remembered(
    place: Path, tmp_path: Path, reader: Callable[[Path, Done], None], journal: str
) -> None:
    """A reader finds the commit of a writer that died before syncing it; then the power fails.

    SQLite takes what such a writer left for committed, and syncs nothing for who only reads.
    """
    set_journal(place / "repository", journal)
    write_keyring_file(place / "keyring.json", KEYRING)
    original = tmp_path / "original"
    shutil.copytree(place, original)
    number = sync_of_the_first_commit(place, recorded(operations.change_settings, place))
    shutil.rmtree(place)
    shutil.copytree(original, place)
    machines = Machines(place)
    calls = recorded(operations.change_settings, place, kill_before=number)
    calls += recorded(reader, place)
    found = every_loss(machines, calls)
    [version] = {remains.acknowledged for remains in found} - {b""}
    assert version == b"[2]\n", "the reader did not find the commit"
    require_nothing_lost(place, found, KEYRING, require_settings)


@pytest.mark.parametrize(
    "operation", [operations.store_without_syncs, operations.store_in_a_lazy_database]
)
def test_a_sync_that_is_missing_is_noticed(
    place: Path, operation: Callable[[Path, Done], None]
) -> None:
    """The simulation finds what it is there for: a payload, or a commit, that is not durable."""
    machines = Machines(place)
    found = every_loss(machines, recorded(operation, place))
    with pytest.raises((AssertionError, SealstoreError)):
        require_nothing_lost(place, found, KEYRING, require_stored)


def sync_of_the_first_commit(place: Path, calls: list[Call]) -> int:
    """The index of the call that makes the first commit durable: before it is remembered."""
    trust = identity(place / "trust")
    remembered = next(
        index
        for index, call in enumerate(calls)
        if isinstance(call, Renamed) and call.folder == trust
    )
    syncs = [index for index, call in enumerate(calls[:remembered]) if isinstance(call, Synced)]
    # The last one before is that of the staged trust state.
    return syncs[-2]
