"""What holds of every repository, whatever happened to it."""

from __future__ import annotations

from sealstore.ledger.entries import AccessEntry, decode_access_entry
from sealstore.ledger.history import HistoryEntry, decode_history_entry
from sealstore.ledger.merkle import verify_entries
from sealstore.repository.facade import Repository
from sealstore.signed.envelope import open_statement
from tests.faults.operations import ROTATING, TO_STORE, model

PAGE = 100
"""Entries of the history that are compared with what a user sees."""


def contents(repository: Repository, *, verified: bool = True) -> set[tuple[str, str, int]]:
    """Every artifact, each loaded and compared with what was stored.

    Args:
        repository: where they are.
        verified: whether each is verified by itself, too.
    """
    page = repository.list(limit=1000)
    assert page.refused == []
    found = set()
    for artifact in page.artifacts:
        name, tag, revision = artifact.name, artifact.tag, artifact.revision
        assert repository.load(name, tag, revision=revision) == model(name, tag, revision)
        if verified:
            repository.verify(name, tag, revision=revision)
        found.add((name, tag, revision))
    return found


# ── the ledger ───────────────────────────────────────────────────────────────


def proven_history(repository: Repository) -> list[HistoryEntry]:
    """The whole history, oldest first: exactly the entries that its verified head sums up."""
    shown = repository.history(limit=PAGE)
    head = repository.state.head
    with repository.catalogue.read() as rows:
        data = list(rows.history.entries(0, head.size + 1))
    verify_entries(data, head.size, bytes.fromhex(head.root))
    entries = [decode_history_entry(each, number) for number, each in enumerate(data, 1)]
    assert shown == tuple(reversed(entries[-PAGE:]))
    return entries


def proven_accesses(repository: Repository) -> list[AccessEntry]:
    """The whole access log, oldest first: exactly the entries that its verified head sums up."""
    with repository.access_log.read() as reading:
        head = reading.head().head
        data = list(reading.chain.entries(0, head.size + 1))
    verify_entries(data, head.size, bytes.fromhex(head.root))
    return [decode_access_entry(each, number) for number, each in enumerate(data, 1)]


def given_out(repository: Repository) -> list[tuple[str, str, int]]:
    """Every revision that the history says was ever stored."""
    stored = [
        entry.artifact
        for entry in proven_history(repository)
        if entry.event == "store" and entry.artifact is not None
    ]
    return [(each.name, each.tag, each.revision) for each in stored]


# ── all of it ────────────────────────────────────────────────────────────────


def require_that_it_works(
    repository: Repository, present: set[tuple[str, str, int]] | None = None
) -> None:
    """Nothing is half there, both chains are proven, no revision is given out twice, it goes on.

    Args:
        repository: as it was found.
        present: its contents, if they were looked at by this very process just now.
    """
    already_there = contents(repository) if present is None else present
    present = set(already_there)
    before = given_out(repository)
    assert len(set(before)) == len(before)
    assert present <= set(before)
    for name, tag in sorted({(name, tag) for name, tag, _ in TO_STORE} | {("new", "1")}):
        highest = max((number for *known, number in before if known == [name, tag]), default=0)
        artifact = repository.store(model(name, tag, highest + 1), name, tag)
        assert artifact.revision == highest + 1
        present.add((name, tag, highest + 1))
        assert repository.load(name) == model(name, tag, highest + 1)
    assert contents(repository, verified=False) == present
    assert len(given_out(repository)) == len(before) + len(TO_STORE) + 1
    granted = [entry for entry in proven_accesses(repository) if entry.outcome == "granted"]
    # What was there was loaded and verified before; everything was loaded afterwards.
    assert len(granted) >= 2 * len(already_there) + len(present)
    require_whole_mirror(repository)


def require_whole_mirror(repository: Repository) -> None:
    """Each statement under its final name is whole; what is not has a name that says so."""
    for path in (repository.root / "statements").rglob("*.json"):
        ref = open_statement(path.read_bytes().removesuffix(b"\n"), ROTATING).statement.ref
        assert path.parts[-3:] == (ref.name, ref.tag, f"{ref.revision}.json")
