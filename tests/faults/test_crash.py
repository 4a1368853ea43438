"""kill -9 at every step of what changes a repository, and what is found afterwards."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sealstore.errors import ArtifactNotFound, RepositoryNotFoundError
from sealstore.keys.keyring import Keyring, State
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import write_keyring_file
from sealstore.names import request
from sealstore.repository.facade import Repository
from sealstore.signed.settings import open_settings
from sealstore.storage.catalogue import migrations, schema
from sealstore.storage.layout import read_settings_file
from sealstore.trust import operating
from tests.faults import operations
from tests.faults.conftest import Deaths, Scene
from tests.faults.dying import Steps, stops, survives
from tests.faults.operations import (
    HISTORY,
    KEYRING,
    PRESENT,
    ROTATED,
    ROTATING,
    TO_REVOKE,
    TO_STORE,
    Done,
    opened,
)
from tests.faults.soundness import (
    contents,
    proven_accesses,
    proven_history,
    require_that_it_works,
)
from tests.older_release import make_older
from tests.sealstore_fixtures import snapshot

pytestmark = [pytest.mark.invariant(3), pytest.mark.slow]

# ── the operations ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "operation", [operations.store, operations.store_by_temporary_names], ids=["nameless", "named"]
)
def test_a_killed_store_is_absent_or_whole_and_loses_nothing(
    filled: Path, deaths: Deaths, operation: Callable[[Path, Done], None]
) -> None:
    """Whatever step a store dies at, all that was acknowledged loads and storing goes on."""
    for root, done in deaths(operation, filled):
        acknowledged = set(done.entries())
        with opened(root) as repository:
            found = contents(repository)
            assert PRESENT | acknowledged <= found <= PRESENT | set(TO_STORE)
            assert len(found) <= len(PRESENT | acknowledged) + 1
            require_that_it_works(repository, found)


def test_a_killed_creation_gives_a_repository_or_can_be_repeated(
    tmp_path: Path, deaths: Deaths
) -> None:
    """Whatever step a creation dies at, the repository is there or can be made now."""
    for root, done in deaths(operations.create, tmp_path / "absent"):
        try:
            repository = opened(root)
        except RepositoryNotFoundError:
            assert not done.entries()
            operations.create(root, done)
            repository = opened(root)
        with repository:
            assert [entry.event for entry in proven_history(repository)] == ["create"]
            assert proven_accesses(repository) == []
            require_that_it_works(repository)


def test_a_killed_removal_removes_all_revisions_or_none(filled: Path, deaths: Deaths) -> None:
    """Whatever step a removal dies at, it is done or not, and the numbers stay given out."""
    removed = {("churn", "2026-10", 1), ("churn", "2026-10", 2)}
    for root, done in deaths(operations.remove, filled):
        with opened(root) as repository:
            found = contents(repository)
            assert found == PRESENT - removed or (found == PRESENT and not done.entries())
            require_that_it_works(repository, found)


def test_a_killed_resigning_leaves_the_old_or_the_new_signature(
    filled: Path, deaths: Deaths
) -> None:
    """Whatever step a new signature dies at, one of both is there and can be replaced."""
    ref = request("churn", "2026-10", 2)
    old, new = (key.key_id for key in ROTATING)
    for root, done in deaths(operations.resign, filled):
        with opened(root, ROTATING) as repository:
            signed = repository.get(ref.name, ref.tag, revision=2).key_id
            assert signed in ({new} if done.entries() else {old, new})
            events = [entry.event for entry in proven_history(repository)]
            assert events.count("resign") == (signed == new)
            assert contents(repository) == PRESENT
            assert repository.resign(ref).key_id == new
            require_that_it_works(repository)


def test_a_killed_change_of_the_settings_holds_or_was_not_made(
    filled: Path, deaths: Deaths
) -> None:
    """Whatever step it dies at, the settings are the last acknowledged ones or the next."""
    for root, done in deaths(operations.change_settings, filled):
        acknowledged = max((version for (version,) in done.entries()), default=1)
        with opened(root) as repository:
            document = repository.state.document
            assert acknowledged <= document.version <= acknowledged + 1
            assert document.revoked_keys == TO_REVOKE[: document.version - 1]
            require_settings_on_record(repository)
            changed = repository.change_settings(revoked_keys=TO_REVOKE)
            assert changed.version == document.version + 1
            # Whatever was left of repository.json, it shows the newest settings now.
            shown = open_settings(read_settings_file(root), KEYRING)
            assert shown.document == repository.state.document == changed
            require_settings_on_record(repository)
            require_that_it_works(repository)


def require_settings_on_record(repository: Repository) -> None:
    """Every version of the settings has its entry, and the last is the one that holds."""
    entries = [entry for entry in proven_history(repository) if entry.event == "settings"]
    versions = [entry.details["version"] for entry in entries]
    assert versions == list(range(2, repository.state.document.version + 1))
    for entry in entries[-1:]:
        assert entry.details["sha256"] == repository.state.settings.digest


def test_a_killed_heartbeat_leaves_the_old_or_the_new_heads(filled: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, both heads are signed; once it returned, by the new key only."""
    with opened(filled) as repository:
        before = repository.state.head
    for root, done in deaths(operations.beat, filled):
        with opened(root, ROTATED if done.entries() else ROTATING) as repository:
            head = repository.state.head
            assert (head.size, head.root, head.map_root) == (
                *(before.size, before.root, before.map_root),
            )
            assert head.time > before.time or (head.time == before.time and not done.entries())
            found = contents(repository)
            assert found == PRESENT
            require_that_it_works(repository, found)


def test_a_killed_rotation_on_record_holds_or_can_be_repeated(filled: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, both keys read it on; once it returned, the old one is not needed.

    Head, settings and the access log's head are then signed by the new key.
    """
    for root, done in deaths(operations.put_rotation_on_record, filled):
        if not done.entries():
            with opened(root, ROTATING) as repository:
                assert contents(repository) == PRESENT
                assert len([e for e in proven_history(repository) if e.event == "key"]) <= 1
            operations.put_rotation_on_record(root, done)
        with opened(root, ROTATED) as repository:
            assert repository.state.settings.key_id == operations.key(2).key_id
            require_that_it_works(repository)


def test_a_killed_rotation_leaves_the_old_or_the_new_keyring(
    tmp_path: Path, deaths: Deaths
) -> None:
    """Whatever step writing the keyring dies at, the file holds one keyring and can be written."""
    original = tmp_path / "keyring.json"
    write_keyring_file(original, KEYRING)
    for path, done in deaths(operations.rotate, original):
        found = states(read_keyring_file(path, outside=None))
        assert found == states(ROTATED) or (found == states(KEYRING) and not done.entries())
        for left in path.parent.glob("*keyring*"):
            assert left.stat().st_mode & 0o077 == 0
        operations.rotate(path, done)
        assert states(read_keyring_file(path, outside=None)) == states(ROTATED)


def states(keyring: Keyring) -> dict[str, State]:
    return {key.key_id: key.state for key in keyring}


def test_a_killed_client_remembers_the_old_or_the_new_state(tmp_path: Path, deaths: Deaths) -> None:
    """Whatever step advancing dies at, what was acknowledged is remembered, and it goes on."""
    for folder, done in deaths(operations.remember, tmp_path / "trust"):
        sizes = [0, *(size for (size,) in done.entries())]
        following = {0: 3, 3: 5, 5: 8, 8: 8}
        trust = operations.trust_store(folder)
        found = trust.read()
        size = 0 if found is None else found.point.size
        assert size in (sizes[-1], following[sizes[-1]])
        trust.advance(HISTORY.point(9), prove=HISTORY.prove)
        require_remembered(folder, 9)


def test_a_killed_operator_leaves_the_old_or_the_new_state(tmp_path: Path, deaths: Deaths) -> None:
    """Whatever step accepting or forgetting dies at, there is no moment without a memory."""
    original = tmp_path / "trust"
    operating.begin(operations.trust_store(original), HISTORY.point(8))
    for folder, done in deaths(operations.accept_and_forget, original):
        states = [8, 2, 4, None]
        acknowledged = len(done.entries())
        found = operations.trust_store(folder).read()
        assert (None if found is None else found.point.size) in states[acknowledged:][:2]
        operating.accept(operations.trust_store(folder), HISTORY.point(9))
        require_remembered(folder, 9)


def require_remembered(folder: Path, size: int) -> None:
    """The state is whole, private, and no half a file is left beside it."""
    found = operations.trust_store(folder).read()
    assert found is not None
    assert found.point == HISTORY.point(size)
    for left in folder.iterdir():
        assert left.suffix != ".staged"
        assert left.stat().st_mode & 0o077 == 0


def test_a_killed_migration_leaves_the_old_or_the_new_schema(
    tmp_path: Path, deaths: Deaths, filled: Path, older_release: str
) -> None:
    """Whatever step a migration dies at, each database is an old or a new one; again, it ends."""
    original = tmp_path / "original"
    shutil.copytree(filled, original / "repository")
    make_older(original / "repository")
    write_keyring_file(original / "keyring.json", operations.KEYRING)
    shutil.copytree(migrations.migrations_path(), original / "migrations")
    known = {older_release, schema.SCHEMA_REVISIONS[-1]}
    for place, done in deaths(operations.migrate_repository, original):
        root = place / "repository"
        revisions = {name: revision_of(root / name) for name in ("catalogue", "access")}
        assert set(revisions.values()) <= known
        if done.entries():
            assert set(revisions.values()) == {schema.SCHEMA_REVISIONS[-1]}
        operations.migrate_repository(place, done)
        with opened(root) as repository:
            assert contents(repository) == PRESENT
            assert repository.store("more", "churn", "2026-11").revision > 1


def revision_of(database: Path) -> str:
    with closing(sqlite3.connect(database.with_suffix(".sqlite3"))) as opened_:
        [[found]] = opened_.execute("SELECT version_num FROM alembic_version").fetchall()
        return str(found)


def test_a_process_that_stands_still_leaves_what_a_killed_one_leaves(
    filled: Path, memory: Path, finest_steps: Steps
) -> None:
    """Which is why one process, looked at whenever it stands still, stands for many killed ones."""
    if finest_steps is not Steps.KERNEL:
        pytest.skip("a process may not trace its children here")
    scene = Scene(filled, memory / "scene")
    scene.set_up()
    stopped = [shape(scene) for _ in stops(operations.store, scene.place, scene.done)]
    assert len(stopped) > 100
    for step in range(1, len(stopped), len(stopped) // 10):
        scene.set_up()
        assert not survives(step, finest_steps, operations.store, scene.place, scene.done)
        assert shape(scene) == stopped[step - 1]


def shape(scene: Scene) -> list[tuple[str, int, int]]:
    """Which files are there, of which mode and size: in their content are times and chance."""
    return sorted(
        (name, mode, len(content)) for name, (mode, content) in snapshot(scene.folder).items()
    )


@pytest.mark.parametrize("steps", [Steps.PYTHON, Steps.ALL])
def test_an_interrupted_operation_is_really_interrupted(
    filled: Path, tmp_path: Path, steps: Steps
) -> None:
    """The child dies at its first step, so that nothing of it was done."""
    done = Done(tmp_path / "done")
    shutil.copytree(filled, tmp_path / "repository")
    assert not survives(1, steps, operations.store, tmp_path / "repository", done)
    assert done.entries() == []
    with (
        opened(tmp_path / "repository") as repository,
        pytest.raises(ArtifactNotFound),
    ):
        repository.load("churn", "2026-12")
