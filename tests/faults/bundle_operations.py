"""What the children of the tests of imports do. Each imports it again: no pytest, no Hypothesis.

A place is a folder with a repository, with what its client remembers, and with a bundle to import.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sealstore.bundles.creating import create_bundle
from sealstore.bundles.importing import import_bundle
from sealstore.keys.changing import withholding
from sealstore.keys.keyring import Keyring
from sealstore.names import parse_request
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from tests.faults.operations import Done, key, model

KEYRING: Final = Keyring.of([key(1), key(3)])
"""The first key is the repository's, the third signs at the origin; the repository knows both."""
BUNDLED: Final = (("churn", "2026-12", 1), ("fraud", "v1", 1), ("fraud", "v1", 2), ("new", "1", 1))
OWN: Final = ("churn", "2026-10", 1)
REFS: Final = tuple(f"{name}:{tag}@{revision}" for name, tag, revision in BUNDLED)


def client(place: Path) -> Settings:
    """A client that remembers what it has seen in the place itself."""
    return Settings.from_environment({"MODEL_REPO_TRUST_STATE": str(place / "trust")})


@contextmanager
def opened(place: Path) -> Iterator[Repository]:
    """The repository of a place."""
    keyring = withholding(KEYRING, key(3).key_id)
    with Repository.open(place / "repository", keyring=keyring, settings=client(place)) as found:
        yield found


def fill(place: Path, origin: Path) -> None:
    """A repository that has something of its own already, and a bundle of another one."""
    with Repository.create(
        place / "repository", keyring=Keyring.of([key(1)]), settings=client(place)
    ) as own:
        name, tag, revision = OWN
        own.store(model(name, tag, revision), name, tag)
    with Repository.create(
        origin / "repository", keyring=Keyring.of([key(3)]), settings=client(origin)
    ) as made:
        for name, tag, revision in BUNDLED:
            made.store(model(name, tag, revision), name, tag)
        create_bundle(made, map(parse_request, REFS), place / "models.bundle")


def take_in(place: Path, done: Done) -> None:
    """Import the bundle."""
    with opened(place) as repository:
        report = import_bundle(repository, place / "models.bundle")
        done.add(len(report.imported))


def create(place: Path, done: Done) -> None:
    """Make a bundle of what the repository has."""
    with opened(place) as repository:
        create_bundle(repository, [parse_request(OWN[0])], place / "made.bundle")
        done.add("made")
