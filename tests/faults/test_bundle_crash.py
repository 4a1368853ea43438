"""kill -9, and a full disk, at every step of an import and of the making of a bundle."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

from sealstore.bundles.checking import verify_bundle
from sealstore.bundles.creating import create_bundle
from sealstore.bundles.importing import import_bundle
from sealstore.errors import CatalogueError, RepairWarning, SealstoreError, StorageError
from sealstore.names import parse_request
from sealstore.repository.facade import Repository
from tests.faults import bundle_operations, conftest
from tests.faults.bundle_operations import BUNDLED, KEYRING, OWN, client, opened
from tests.faults.conftest import Deaths
from tests.faults.mounts import fill_up, free_blocks, small_file_system
from tests.faults.operations import model
from tests.sealstore_fixtures import snapshot

pytestmark = [pytest.mark.invariant(3), pytest.mark.slow]

deaths = conftest.deaths
finest_steps = conftest.finest_steps


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a repository and a bundle; copied, never changed."""
    made = tmp_path_factory.mktemp("bundles")
    (made / "place").mkdir()
    bundle_operations.fill(made / "place", made / "origin")
    return made / "place"


def contents(repository: Repository) -> set[tuple[str, str, int]]:
    """Every artifact, each loaded and verified; of an imported one, the origin, too."""
    page = repository.list(limit=100)
    assert page.refused == []
    found = set()
    for artifact in page.artifacts:
        which = (artifact.name, artifact.tag, artifact.revision)
        assert repository.load(*which[:2], revision=which[2]) == model(*which)
        repository.verify(*which[:2], revision=which[2])
        kept = repository.origin(*which[:2], revision=which[2])
        assert (kept is None) is (which == OWN)
        assert kept is None or kept.statement is not None
        found.add(which)
    return found


def require_whole(repository: Repository, path: Path) -> None:
    """It can be imported now, or is there; and nothing of it comes twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        import_bundle(repository, path)
    assert contents(repository) == {OWN, *BUNDLED}
    assert len(repository.history(limit=100)) == 2 + len(BUNDLED)


def test_a_killed_import_has_taken_in_all_or_nothing(place: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, the repository is sound, and importing again completes it."""
    for folder, done in deaths(bundle_operations.take_in, place):
        with opened(folder) as repository:
            found = contents(repository)
            assert found == {OWN, *BUNDLED} or (found == {OWN} and not done.entries())
            require_whole(repository, folder / "models.bundle")


def test_a_killed_creation_leaves_a_whole_bundle_or_none(place: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, a file under the bundle's name verifies, and can be made again."""
    for folder, done in deaths(bundle_operations.create, place):
        path = folder / "made.bundle"
        if path.exists():
            assert verify_bundle(path, client(folder), KEYRING).findings == []
        else:
            assert not done.entries()
        with opened(folder) as repository:
            create_bundle(repository, [parse_request(OWN[0])], path, replace=True)
        assert verify_bundle(path, client(folder), KEYRING).findings == []


def test_a_full_disk_takes_in_nothing(place: Path, tmp_path: Path) -> None:
    """With each number of free blocks until it fits, an import is refused and changes nothing."""
    with small_file_system(tmp_path / "disk", 2 << 20):
        folder, ballast = tmp_path / "disk/place", tmp_path / "disk/ballast"
        shutil.copytree(place, folder)
        (folder / "models.bundle").unlink()
        refusals: list[SealstoreError] = []
        while not _try_import(folder, place / "models.bundle", ballast, refusals):
            assert len(refusals) < 100
            with opened(folder) as repository:
                assert contents(repository) == {OWN}
                assert len(repository.history()) == 2
            assert not (folder / "repository/origins").exists()
        assert refusals
        assert {type(error) for error in refusals} <= {StorageError, CatalogueError}
        with opened(folder) as repository:
            require_whole(repository, place / "models.bundle")


def _try_import(folder: Path, bundle: Path, ballast: Path, refusals: list[SealstoreError]) -> bool:
    try:
        with warnings.catch_warnings(), opened(folder) as repository:
            # The mirrors, or what is remembered, may not fit any more: that is a warning.
            warnings.simplefilter("ignore", RepairWarning)
            fill_up(ballast, len(refusals))
            import_bundle(repository, bundle)
    except SealstoreError as error:
        refusals.append(error)
        return False
    finally:
        ballast.unlink(missing_ok=True)
    return True


def test_a_full_disk_leaves_no_bundle(place: Path, tmp_path: Path) -> None:
    """A bundle that does not fit is no file, and the blocks that it had taken are free again."""
    shutil.copytree(place, tmp_path / "place")
    with small_file_system(tmp_path / "disk", 1 << 20), opened(tmp_path / "place") as repository:
        ballast, path = tmp_path / "disk/ballast", tmp_path / "disk/made.bundle"
        fill_up(ballast, 2)
        before, free = snapshot(tmp_path / "disk"), free_blocks(tmp_path / "disk")
        with pytest.raises(StorageError, match="No space left"):
            create_bundle(repository, [parse_request(OWN[0])], path)
        assert snapshot(tmp_path / "disk") == before
        assert free_blocks(tmp_path / "disk") == free
        ballast.unlink()
        create_bundle(repository, [parse_request(OWN[0])], path)
    with opened(tmp_path / "place") as repository:
        assert contents(repository) == {OWN}
