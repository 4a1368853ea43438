"""Stores and loads in a random order, and what must be there afterwards."""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from typing import Any

from sealstore.errors import ArtifactNotFound
from sealstore.repository.facade import Repository

NAMES = [f"model-{number:02}" for number in range(20)]
TAGS = ["nightly", "weekly", "release"]

Stored = tuple[str, str, int, int, str]
"""Name, tag, revision, sequence, and the token in the object."""


def parcel(name: str, tag: str, token: str, size: int) -> dict[str, Any]:
    """An object that shows whether it is whole and where it belongs."""
    content = random.Random(token).randbytes(size)
    return {"name": name, "tag": tag, "token": token, "bytes": content, "crc": zlib.crc32(content)}


def require_whole(loaded: dict[str, Any], name: str, tag: str | None) -> None:
    assert loaded["name"] == name
    assert tag in (None, loaded["tag"])
    assert zlib.crc32(loaded["bytes"]) == loaded["crc"]


def store_and_load(repository: Repository, worker: str, stores: int, loads: int) -> list[Stored]:
    """Store and load in a random order that is the same in each run."""
    chance = random.Random(worker)
    steps = ["store"] * stores + ["load"] * loads
    chance.shuffle(steps)
    stored: list[Stored] = []
    known: set[tuple[str, str | None]] = set()
    for number, step in enumerate(steps):
        name, tag = chance.choice(NAMES), chance.choice(TAGS)
        if step == "store":
            token = f"{worker}-{number}"
            artifact = repository.store(
                parcel(name, tag, token, chance.randrange(20_000)), name, tag, actor=worker
            )
            stored.append((name, tag, artifact.revision, artifact.sequence, token))
            known |= {(name, None), (name, tag)}
        else:
            load_something(repository, chance, stored, known)
    return stored


def load_something(
    repository: Repository,
    chance: random.Random,
    stored: list[Stored],
    known: set[tuple[str, str | None]],
) -> None:
    if stored and chance.random() < 0.3:
        name, own_tag, revision, _, token = chance.choice(stored)
        assert repository.load(name, own_tag, revision=revision)["token"] == token
        return
    name, tag = chance.choice(NAMES), chance.choice([None, *TAGS])
    try:
        require_whole(repository.load(name, tag or "latest"), name, tag)
    except ArtifactNotFound:
        assert (name, tag) not in known


def require_complete(repository: Repository, stored: list[Stored]) -> None:
    """Every acknowledged store is there, whole, and numbers have neither gap nor duplicate."""
    assert sorted(sequence for *_, sequence, _ in stored) == list(range(2, len(stored) + 2))
    revisions = defaultdict(list)
    for name, tag, revision, _, token in stored:
        revisions[name, tag].append(revision)
        loaded = repository.load(name, tag, revision=revision)
        require_whole(loaded, name, tag)
        assert loaded["token"] == token
        repository.verify(name, tag, revision=revision)
    for numbers in revisions.values():
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    last = max(stored, key=lambda entry: entry[3])
    assert repository.load(last[0])["token"] == last[4]
