"""Writers that die, stop or hang while others wait."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import CatalogueError
from sealstore.repository.facade import Repository
from tests.faults.children import SECONDS_FOR_A_CHILD, started
from tests.faults.operations import CHANGES, KEYRING, ROTATING, model
from tests.faults.soundness import require_that_it_works
from tests.sealstore_fixtures import snapshot

pytestmark = pytest.mark.invariant(3)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DATABASE_BUSY_SECONDS", 0.3)


def write_and_wait(root: Path, ready: Any) -> None:
    """Remove an artifact in a transaction that never ends."""
    with (
        Repository.open(root, keyring=KEYRING) as repository,
        repository.catalogue.write() as open_,
    ):
        open_.delete_artifacts("churn", "2026-11", 1)
        ready.send("ready")
        time.sleep(SECONDS_FOR_A_CHILD)


def lock_the_database(root: Path, ready: Any) -> None:
    """Begin a transaction past sealstore, as a database browser does."""
    connection = sqlite3.connect(root / "catalogue.sqlite3", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    ready.send("ready")
    time.sleep(SECONDS_FOR_A_CHILD)


def test_a_killed_writer_lets_the_next_one_in(root: Path) -> None:
    """Whoever is killed in a transaction changed nothing and holds nobody up."""
    with Repository.open(root, keyring=KEYRING) as repository:
        with started(write_and_wait, root) as writer:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            repository.store(model("churn", "2026-11", 2), "churn", "2026-11")
        require_that_it_works(repository)
        assert repository.load("churn", "2026-11", revision=1) == model("churn", "2026-11", 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("holder", [write_and_wait, lock_the_database])
@pytest.mark.parametrize("change", CHANGES)
def test_a_stopped_writer_is_waited_for_and_then_named(
    root: Path, holder: Callable[..., None], change: str
) -> None:
    """Behind a writer that does not go on, a change gives up with an error; loads go on."""
    with started(holder, root) as writer, Repository.open(root, keyring=ROTATING) as repository:
        os.kill(writer.pid, signal.SIGSTOP)
        before = statements_and_rows(root)
        with pytest.raises(CatalogueError) as raised:
            CHANGES[change](repository)
        assert "0.3 seconds" in raised.value.message or "locked" in raised.value.message
        assert raised.value.hint
        assert statements_and_rows(root) == before
        assert repository.load("churn", "2026-11") == model("churn", "2026-11", 1)
        os.kill(writer.pid, signal.SIGCONT)
    with Repository.open(root, keyring=ROTATING) as repository:
        require_that_it_works(repository)


def statements_and_rows(root: Path) -> tuple[object, object]:
    """What a change that gave up must not have changed: payloads may have come, unreferenced."""
    connection = sqlite3.connect(root / "catalogue.sqlite3")
    try:
        return snapshot(root / "statements"), list(connection.iterdump())
    finally:
        connection.close()
