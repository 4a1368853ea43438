"""What the children of the access log's tests do. Each imports it again: no pytest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sealstore import limits
from sealstore.keys.keyring import Keyring
from sealstore.ledger.authenticated_map import EMPTY_MAP_ROOT
from sealstore.ledger.entries import AccessEntry, AccessRequest, EntryArtifact, decode_access_entry
from sealstore.ledger.merkle import EMPTY_ROOT, verify_entries
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.repository.access_log.log import AccessLog, Event
from sealstore.repository.access_log.operating import create as create_log
from sealstore.repository.access_log.place import open_access_log
from sealstore.repository.settings import Settings
from sealstore.trust import operating
from sealstore.trust.store import TrustStore, folder_location
from tests.faults.operations import KEYRING, ROTATED, Done, remembering

REPOSITORY_ID = "00112233445566778899aabbccddeeff"
REQUEST = AccessRequest(name="churn", tag="latest", revision=None)
ARTIFACT = EntryArtifact(
    name="churn",
    tag="2026-11",
    revision=1,
    sha256="5a" * 32,
    statement="57" * 32,
    key_id="0123456789abcdef0123456789abcdef",
)
ENTRIES = 5
"""Of the log that interrupted operations find."""


def trust_of(place: Path) -> TrustStore:
    """What the client remembers."""
    root = place / "log"
    return TrustStore(place / "trust", folder_location(root), outside=root)


def open_log(
    place: Path,
    keyring: Keyring = KEYRING,
    *,
    create: bool = False,
    variables: Mapping[str, str] | None = None,
) -> AccessLog:
    """The log in ``place``, by a client that remembers it."""
    settings = Settings.from_environment(variables or {})
    return open_access_log(
        settings,
        place / "log",
        REPOSITORY_ID,
        lambda: keyring,
        trust_of(place),
        create=create,
    )


def grant(log: AccessLog, actor: str | None = None) -> int:
    return log.record(Event("load", "granted", REQUEST, ARTIFACT, actor=actor))


def audited(log: AccessLog) -> list[AccessEntry]:
    """Every entry, if the log is whole."""
    with log.read() as reading:
        head = reading.head().head
        entries = list(reading.chain.entries(0, head.size + 1))
        verify_entries(entries, head.size, bytes.fromhex(head.root))
        return [decode_access_entry(entry, number) for number, entry in enumerate(entries, 1)]


def begin(place: Path) -> None:
    """Make the place of a log, and let the client know its repository."""
    (place / "log").mkdir(parents=True)
    operating.begin(
        trust_of(place),
        HistoryCheckpoint(
            repository=REPOSITORY_ID,
            epoch=1,
            size=0,
            root=EMPTY_ROOT.hex(),
            map_root=EMPTY_MAP_ROOT.hex(),
            settings_version=1,
            settings_digest="5e" * 32,
            time="2026-11-23T12:00:00.000000Z",
        ),
    )


def fill(place: Path) -> None:
    """Make the log that every interrupted operation finds; the client remembers all of it."""
    begin(place)
    create(place)
    with closing(open_log(place)) as log:
        for _ in range(ENTRIES):
            grant(log)


# ── what is interrupted ──────────────────────────────────────────────────────


def create(place: Path, done: Done | None = None) -> None:
    with closing(open_log(place, create=True)) as log:
        create_log(log)
        if done is not None:
            done.add("created")


def append(place: Path, done: Done) -> None:
    """A load, and one that fails; the second entry is remembered, and the last at the end."""
    with closing(open_log(place)) as log:
        granted = grant(log, "first")
        done.add(granted)
        with remembering():
            granted = grant(log, "second")
            done.add(granted)
        failed = Event("load", "failed", REQUEST, ARTIFACT, "OBJECT_LOAD", granted, actor="third")
        done.add(log.record(failed))
    done.add("closed")


def sign_again(place: Path, done: Done) -> None:
    """What belongs to a rotation in one step."""
    with closing(open_log(place, ROTATED)) as log:
        log.sign_again()
        done.add("signed")


# ── many at the same time ────────────────────────────────────────────────────


def append_many(
    place: Path, variables: dict[str, str], worker: str, count: int, barrier: Any
) -> list[int]:
    """The sequences of this worker's entries, in their order."""
    vars(limits)["REMEMBER_ACCESS_SECONDS"] = 0.02
    with closing(open_log(place, variables=variables)) as log:
        barrier.wait()
        return [grant(log, worker) for _ in range(count)]


def append_among_forks(place: Path, forked: Callable[..., Any], forks: int) -> list[int]:
    """Append in threads while this process forks, and its children append as well."""
    log = open_log(place)
    grant(log)
    finished = threading.Event()
    appended: list[int] = []

    def use() -> None:
        while not finished.is_set():
            appended.append(grant(log, "thread"))

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(forks):
            with forked(lambda _: grant(log, "child")):
                pass
    finally:
        finished.set()
        for thread in threads:
            thread.join()
    log.close()
    return appended
