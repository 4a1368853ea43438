"""Access logs that tests append to, audit and attack."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealstore.keys.keyring import Key, Keyring
from sealstore.ledger.entries import AccessEntry, AccessRequest, decode_access_entry
from sealstore.ledger.head import AccessHead
from sealstore.ledger.merkle import verify_entries
from sealstore.ledger.points import AccessCheckpoint
from sealstore.repository.access_log.log import AccessLog, Event
from sealstore.repository.access_log.operating import create as create_log
from sealstore.repository.access_log.place import access_rows
from sealstore.repository.settings import Settings
from tests.ledger_trees import ARTIFACT
from tests.sealstore_fixtures import REPOSITORY_ID, hmac_key

REQUEST = AccessRequest(name="churn", tag="latest", revision=None)


@dataclass
class Memory:
    """What a client remembers of a log; unlike the trust state, it keeps whatever it is given."""

    point: AccessCheckpoint | None = None
    written: list[AccessCheckpoint] = field(default_factory=list)
    proofs: list[tuple[int, int]] = field(default_factory=list)

    def remembered(self) -> AccessCheckpoint | None:
        return self.point

    def remember(self, point: AccessCheckpoint, prove: Callable[[int, int], object]) -> None:
        if self.point is not None:
            self.proofs.append((self.point.size, point.size))
            prove(self.point.size, point.size)
        self.point = point
        self.written.append(point)


def open_log(
    root: Path,
    *keys: Key,
    repository: str = REPOSITORY_ID,
    memory: Memory | None = None,
    create: bool = False,
    **variables: str,
) -> AccessLog:
    """The access log of the repository in ``root``, opened by a process of these keys."""
    keyring = Keyring.of(keys or [hmac_key()])
    settings = Settings.from_environment(
        {f"MODEL_REPO_{name.upper()}": value for name, value in variables.items()}
    )
    rows = access_rows(settings, root, create=create)
    if memory is None:
        return AccessLog(rows, repository, lambda: keyring)
    return AccessLog(
        rows,
        repository,
        lambda: keyring,
        remembered=memory.remembered,
        remember=memory.remember,
    )


def make_log(root: Path, *keys: Key, **options: Any) -> None:
    """Make an empty access log."""
    with closing(open_log(root, *keys, create=True, **options)) as log:
        create_log(log)


def grant(log: AccessLog, count: int = 1) -> int:
    """Record some grants; the sequence of the last."""
    sequences = [
        log.record(
            Event("load", "granted", REQUEST, ARTIFACT, actor="job 7", context="hetida job 0815")
        )
        for _ in range(count)
    ]
    return sequences[-1]


def audited(log: AccessLog) -> list[AccessEntry]:
    """Every entry of the log, if it is whole: what an auditor verifies, written down naively."""
    with log.read() as reading:
        head = reading.head().head
        entries = list(reading.chain.entries(0, head.size + 1))
        verify_entries(entries, head.size, bytes.fromhex(head.root))
        return [decode_access_entry(entry, number) for number, entry in enumerate(entries, 1)]


def head_of(log: AccessLog) -> AccessHead:
    """The verified head."""
    with log.read() as reading:
        return reading.head().head


def run_sql(root: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What an attacker does who may write to the log's file."""
    with closing(sqlite3.connect(root / "access.sqlite3", isolation_level=None)) as connection:
        return connection.execute(statement, parameters).fetchall()


def dump(root: Path) -> list[str]:
    """All that the log's database says."""
    with closing(sqlite3.connect(root / "access.sqlite3")) as connection:
        return list(connection.iterdump())
