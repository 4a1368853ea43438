"""kill -9 at every step of what changes a repository, and what is found afterwards."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sealstore.catalogue import migrations
from sealstore.errors import ArtifactNotFound, RepositoryNotFoundError
from sealstore.keys import Keyring, State, read_keyring_file, write_keyring_file
from sealstore.names import request
from sealstore.repository import Repository
from tests.faults import operations
from tests.faults.conftest import Deaths
from tests.faults.dying import Steps, survives
from tests.faults.operations import HISTORY, KEYRING, PRESENT, ROTATED, TO_STORE, Done
from tests.faults.soundness import contents, require_that_it_works

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
        with Repository.open(root, keyring=KEYRING) as repository:
            found = contents(repository)
            assert PRESENT | acknowledged <= found <= PRESENT | set(TO_STORE)
            assert len(found) <= len(PRESENT | acknowledged) + 1
            require_that_it_works(repository)


def test_a_killed_creation_gives_a_repository_or_can_be_repeated(
    tmp_path: Path, deaths: Deaths
) -> None:
    """Whatever step a creation dies at, the repository is there or can be made now."""
    for root, done in deaths(operations.create, tmp_path / "absent"):
        try:
            repository = Repository.open(root, keyring=KEYRING)
        except RepositoryNotFoundError:
            assert not done.entries()
            repository = Repository.create(root, keyring=KEYRING)
        with repository:
            require_that_it_works(repository)


def test_a_killed_removal_removes_all_revisions_or_none(filled: Path, deaths: Deaths) -> None:
    """Whatever step a removal dies at, it is done or not, and the numbers stay given out."""
    removed = {("churn", "2026-10", 1), ("churn", "2026-10", 2)}
    for root, done in deaths(operations.remove, filled):
        with Repository.open(root, keyring=KEYRING) as repository:
            found = contents(repository)
            assert found == PRESENT - removed or (found == PRESENT and not done.entries())
            require_that_it_works(repository)


def test_a_killed_resigning_leaves_the_old_or_the_new_signature(
    filled: Path, deaths: Deaths
) -> None:
    """Whatever step a new signature dies at, one of both is there and can be replaced."""
    ref = request("churn", "2026-10", 2)
    old, new = (key.key_id for key in ROTATED)
    for root, done in deaths(operations.resign, filled):
        with Repository.open(root, keyring=ROTATED) as repository:
            assert repository.get(ref.name, ref.tag, revision=2).key_id in (
                {new} if done.entries() else {old, new}
            )
            assert contents(repository) == PRESENT
            assert repository.resign(ref).key_id == new
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
    operations.trust_store(original).begin(HISTORY.point(8))
    for folder, done in deaths(operations.accept_and_forget, original):
        states = [8, 2, 4, None]
        acknowledged = len(done.entries())
        found = operations.trust_store(folder).read()
        assert (None if found is None else found.point.size) in states[acknowledged:][:2]
        operations.trust_store(folder).accept(HISTORY.point(9))
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
    filled: Path, tmp_path: Path, deaths: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step a migration dies at, tables and rows are the old ones or the new ones."""
    for name in ("migrations_path", "SCHEMA_REVISIONS"):
        monkeypatch.setattr(migrations, name, getattr(migrations, name))  # put back afterwards
    original = tmp_path / "original"
    shutil.copytree(filled, original / "repository")
    operations.know_next_schema(original / "migrations")
    old = dump(original / "repository")
    for place, done in deaths(operations.migrate, original):
        root = place / "repository"
        if dump(root) == old:
            assert not done.entries()
            operations.migrate(place, done)
        new = dump(root)
        assert len([line for line in new if line.startswith('INSERT INTO "more"')]) == 7
        with Repository.open(root, keyring=KEYRING) as repository:
            require_that_it_works(repository)


def dump(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "catalogue.sqlite3")) as database:
        return list(database.iterdump())


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
        Repository.open(tmp_path / "repository", keyring=KEYRING) as repository,
        pytest.raises(ArtifactNotFound),
    ):
        repository.load("churn", "2026-12")
