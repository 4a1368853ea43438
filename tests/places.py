"""Folders that are made once in each worker and copied for each test: repositories above all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from sealstore.default_folders import default_trust_folder
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from sealstore.trust.store import TrustStore, folder_location

CopiedPlace = Callable[[Callable[[Path], object], Path], Path]
CopiedRepository = Callable[
    [Callable[[Repository], object], Keyring, Path], AbstractContextManager[Repository]
]


def remember_as_well(made: Path, copied: Path, memory: Path, copied_memory: Path) -> None:
    """Let a client know the copy of a repository exactly as well as the original.

    Args:
        made: the original, which the client has seen at this path.
        copied: its copy.
        memory: the folder of what the client remembers.
        copied_memory: the folder that what it remembers of the copy belongs into.
    """
    document = _remembered(memory, made).read_text(encoding="ascii")
    assert str(made) in document, "a path that is written in another way cannot be replaced"
    path = _remembered(copied_memory, copied)
    path.write_text(document.replace(str(made), str(copied)), encoding="ascii")
    path.chmod(0o600)


def _remembered(memory: Path, root: Path) -> Path:
    return TrustStore(memory, folder_location(root), outside=root).path


@pytest.fixture(scope="session")
def copied_place(tmp_path_factory: pytest.TempPathFactory) -> CopiedPlace:
    """Copies what a function makes of an empty folder, which it is given once only.

    It makes ``repository``, and beside it ``trust``, which its client remembers it in.
    """
    made: dict[Callable[[Path], object], Path] = {}

    def copy(make: Callable[[Path], object], to: Path) -> Path:
        if make not in made:
            made[make] = tmp_path_factory.mktemp("place")
            make(made[make])
        original = made[make]
        shutil.copytree(original, to, dirs_exist_ok=True)
        (to / "trust" / _remembered(original / "trust", original / "repository").name).unlink()
        remember_as_well(
            original / "repository", to / "repository", original / "trust", to / "trust"
        )
        return to

    return copy


@pytest.fixture(scope="session")
def copied_repository(
    repository_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> CopiedRepository:
    """Opens a copy of what a function fills, which it is given once only.

    The client that filled the original knows the copy as well as that.
    """
    filled: dict[Callable[[Repository], object], Path] = {}
    memory = default_trust_folder()

    @contextmanager
    def copy(
        fill: Callable[[Repository], object], keyring: Keyring, root: Path
    ) -> Iterator[Repository]:
        if fill not in filled:
            original = tmp_path_factory.mktemp("filled") / "repository"
            shutil.copytree(repository_template, original)
            with Repository.open(original, keyring=keyring) as repository:
                fill(repository)
            filled[fill] = original
        shutil.copytree(filled[fill], root)
        remember_as_well(filled[fill], root, memory, memory)
        with Repository.open(root, keyring=keyring) as repository:
            yield repository

    return copy
