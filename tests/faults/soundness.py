"""What holds of every repository, whatever happened to it."""

from __future__ import annotations

from sealstore.envelope import open_statement
from sealstore.repository import Repository
from tests.faults.operations import ROTATED, TO_STORE, model


def contents(repository: Repository) -> set[tuple[str, str, int]]:
    """Every artifact, each loaded, compared with what was stored, and verified."""
    page = repository.list(limit=1000)
    assert page.refused == []
    found = set()
    for artifact in page.artifacts:
        name, tag, revision = artifact.name, artifact.tag, artifact.revision
        assert repository.load(name, tag, revision=revision) == model(name, tag, revision)
        repository.verify(name, tag, revision=revision)
        found.add((name, tag, revision))
    return found


def given_out(repository: Repository) -> list[tuple[str, str, int]]:
    """Every revision that the history says was ever stored; its sequence must have no gap."""
    entries = repository.history(limit=1000)
    assert [entry.sequence for entry in entries] == list(range(len(entries), 0, -1))
    stored = [entry for entry in entries if entry.event == "store"]
    return [(str(entry.name), str(entry.tag), entry.revision or 0) for entry in stored]


def require_that_it_works(repository: Repository) -> None:
    """Nothing is half there, no revision is given out twice, and storing goes on."""
    present = contents(repository)
    before = given_out(repository)
    assert len(set(before)) == len(before)
    assert present <= set(before)
    for name, tag in {(name, tag) for name, tag, _ in TO_STORE} | {("new", "1")}:
        highest = max((number for *known, number in before if known == [name, tag]), default=0)
        artifact = repository.store(model(name, tag, highest + 1), name, tag)
        assert artifact.revision == highest + 1
        present.add((name, tag, highest + 1))
        assert repository.load(name) == model(name, tag, highest + 1)
    assert contents(repository) == present
    require_whole_mirror(repository)


def require_whole_mirror(repository: Repository) -> None:
    """Each statement under its final name is whole; what is not has a name that says so."""
    for path in (repository.root / "statements").rglob("*.json"):
        ref = open_statement(path.read_bytes().removesuffix(b"\n"), ROTATED).statement.ref
        assert path.parts[-3:] == (ref.name, ref.tag, f"{ref.revision}.json")
