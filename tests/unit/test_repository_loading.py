"""Loading, verifying and exporting, as callers see them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import joblib
import pytest

import sealstore
from sealstore.errors import (
    ArtifactNotFound,
    EnvironmentMismatchError,
    EnvironmentMismatchWarning,
    UnknownFormatError,
    UnsupportedMmapModeError,
)
from sealstore.formats.joblib_format import JoblibFormat
from sealstore.keys.keyring import Keyring
from sealstore.repository import environment
from sealstore.repository.facade import Repository
from tests.sealstore_fixtures import (
    payload_path,
)

MODEL = {"weights": [0.5, 1.5], "name": "a model"}


@pytest.mark.parametrize(
    "asked", [("x",), ("m", "b"), ("m", "A"), ("m", "a", 2), ("M", "a"), ("m", "b", 1)]
)
def test_what_is_not_there_is_not_found(repository: Repository, asked: Any) -> None:
    """The error names the request, and is Python's FileNotFoundError too; no path is shown."""
    repository.store(MODEL, "m", "a")
    name, tag, revision = (*asked, "latest", None)[:3] if len(asked) == 1 else (*asked, None)[:3]
    for read in (repository.load, repository.get, repository.verify, repository.read_payload):
        with pytest.raises(ArtifactNotFound, match=f"^{name}:{tag}") as refusal:
            read(name, tag, revision=revision)
        assert isinstance(refusal.value, FileNotFoundError)
        assert str(repository.root) not in str(refusal.value)


@pytest.mark.parametrize("mode", ["r+", "w+", "w", "R", "", True, "copyonwrite"])
def test_a_mode_that_would_write_to_the_file_is_refused(repository: Repository, mode: Any) -> None:
    """Payloads are never modified."""
    repository.store(MODEL, "m", "a")
    with pytest.raises(UnsupportedMmapModeError, match="mmap_mode='c'"):
        repository.load("m", "a", mmap_mode=mode)


def test_a_verified_payload_can_be_exported(repository: Repository) -> None:
    """Its bytes are those of the file, and joblib reads them."""
    stored = repository.store(MODEL, "m", "a")
    artifact, view = repository.read_payload("m", "a")
    assert artifact.ref == stored.ref
    assert view == payload_path(repository, stored).read_bytes()
    assert joblib.load(io.BytesIO(view)) == MODEL


def test_verify_tells_the_artifact_without_loading_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both digests are compared and nothing is unpickled."""
    stored = repository.store(MODEL, "m", "a")

    def unreachable(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(JoblibFormat, "load", unreachable)
    assert repository.verify("m", "a").ref == stored.ref
    with pytest.raises(AssertionError):
        repository.load("m", "a")


def test_another_package_version_warns_and_can_be_made_an_error(
    repository: Repository, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error comes before anything is unpickled."""
    repository.store(MODEL, "m", "a")
    assert repository.load("m") == MODEL
    monkeypatch.setattr(environment, "python_version", lambda: "2.7.18")
    with pytest.warns(EnvironmentMismatchWarning, match=r"m:a@1: Python .* stored, 2\.7\.18 runs"):
        assert repository.load("m") == MODEL
    monkeypatch.setenv("MODEL_REPO_STRICT_ENVIRONMENT", "1")

    def unreachable(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(JoblibFormat, "load", unreachable)
    with (
        Repository.open(repository.root, keyring=keyring) as strict,
        pytest.raises(EnvironmentMismatchError, match=r"m:latest: .*2\.7\.18"),
    ):
        strict.load("m")


def test_the_warning_points_at_the_callers_line(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning can be found, and silenced, where the load stands."""
    repository.store(MODEL, "m", "a")
    monkeypatch.setattr(environment, "python_version", lambda: "2.7.18")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        repository.load("m")
    assert [Path(each.filename) for each in caught] == [Path(__file__)]


def test_an_unknown_format_is_told(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later release stored is not guessed."""
    monkeypatch.setattr(JoblibFormat, "name", "next")
    repository.store(MODEL, "m", "a")
    with pytest.raises(UnknownFormatError, match="install a newer release"):
        repository.load("m", "a")


@pytest.mark.parametrize("digest", ["blake3", "sha256"])
def test_either_digest_can_be_the_one_that_a_load_checks(
    repository: Repository, keyring: Keyring, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    """MODEL_REPO_DIGEST chooses; both refuse other bytes."""
    stored = repository.store(MODEL, "m", "a")
    monkeypatch.setenv("MODEL_REPO_DIGEST", digest)
    with Repository.open(repository.root, keyring=keyring) as opened:
        assert opened.load("m") == MODEL
        path = payload_path(repository, stored)
        changed = bytearray(path.read_bytes())
        changed[-2] ^= 1
        path.unlink()
        path.write_bytes(changed)
        with pytest.raises(sealstore.VerificationError, match="not the ones that were signed"):
            opened.load("m")
