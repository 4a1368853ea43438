"""Two sites: an origin that bundles come from, and a site without a network that they are taken to.

And what somebody does to a bundle who may write the file: take it apart, change it, and put it
together again with all its digests right.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.bundles.checking import BundleReport, verify_bundle
from sealstore.bundles.creating import create_bundle
from sealstore.bundles.file import open_bundle
from sealstore.bundles.format import HEADER_BYTES, MAGIC, Evidence, sealed_index
from sealstore.bundles.importing import ImportReport, import_bundle
from sealstore.keys.keyring import Key, Keyring
from sealstore.names import parse_request
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    scope,
)

ORIGIN_KEY = ed25519_key(1)
SITE_KEY = hmac_key(2)
FIRST = {"weights": [number / 8 for number in range(40)]}
SECOND = {"weights": [number / 8 for number in range(1, 41)]}
"""Two objects whose payloads have the same size."""
NAMES = ("churn:v1@1", "churn:v1@2", "fraud:2026")


def public(key: Key, *repositories: str) -> Key:
    """What others have of a key: its public part, for some repositories."""
    material = key.material.public()
    assert material is not None
    return replace(key, material=material, scope=scope(*(repositories or (OTHER_REPOSITORY_ID,))))


@dataclass
class BundleSite:
    """A repository with what its client remembers."""

    repository: Repository

    @property
    def root(self) -> Path:
        return self.repository.root

    @property
    def folder(self) -> Path:
        """Where everything of the site is."""
        return self.root.parent

    @property
    def settings(self) -> Settings:
        return self.repository.settings

    def bundle(self, *names: str, since: Path | None = None) -> Path:
        """A new bundle of what is stored here."""
        number = len(list(self.folder.glob("*.bundle")))
        path = self.folder / f"{number}.bundle"
        refs = map(parse_request, names or NAMES)
        create_bundle(self.repository, refs, path, since=since)
        return path

    def verify(self, path: Path, **options: Any) -> BundleReport:
        """What this site thinks of a bundle."""
        return verify_bundle(path, self.settings, self.repository.keyring, **options)

    def take_in(self, path: Path, **options: Any) -> ImportReport:
        return import_bundle(self.repository, path, **options)


def opened(folder: Path, *keys: Key, **variables: str) -> BundleSite:
    """The site in a folder, opened with these keys."""
    given = {"MODEL_REPO_TRUST_STATE": str(folder / "trust"), **variables}
    settings = Settings.from_environment({**given, "MODEL_REPO_PATH": str(folder / "repository")})
    keyring = Keyring.of(keys)
    return BundleSite(Repository.open(settings.path, keyring=keyring, settings=settings))


@pytest.fixture(scope="session")
def bundle_sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sites, as they are before anything is carried; copied, never changed."""
    folder = tmp_path_factory.mktemp("sites")
    keys = Keyring.of([ORIGIN_KEY])
    trusting = Settings.from_environment({"MODEL_REPO_TRUST_STATE": str(folder / "no" / "trust")})
    with Repository.create(
        folder / "origin/repository",
        keyring=keys,
        repository_id=OTHER_REPOSITORY_ID,
        settings=trusting,
    ) as origin:
        origin.store(FIRST, "churn", "v1", metadata={"auc": 0.91}, actor="job 7")
        origin.store(SECOND, "churn", "v1")
        origin.store(FIRST, "fraud", "2026")
    Repository.create(
        folder / "site/repository",
        keyring=Keyring.of([SITE_KEY]),
        repository_id=REPOSITORY_ID,
        settings=trusting,
    ).close()
    return folder


@pytest.fixture
def origin(bundle_sites: Path, tmp_path: Path) -> Iterator[BundleSite]:
    """Where bundles come from: an Ed25519 key signs there."""
    folder = tmp_path / "origin"
    shutil.copytree(bundle_sites / "origin", folder)
    site = opened(folder, ORIGIN_KEY)
    yield site
    site.repository.close()


@pytest.fixture
def island(bundle_sites: Path, tmp_path: Path) -> Iterator[BundleSite]:
    """Where they are taken to: another repository, that knows the origin's public key."""
    folder = tmp_path / "site"
    shutil.copytree(bundle_sites / "site", folder)
    site = opened(folder, SITE_KEY, public(ORIGIN_KEY))
    yield site
    site.repository.close()


# ── what is done to a bundle ─────────────────────────────────────────────────


def taken_apart(path: Path) -> tuple[Evidence, dict[str, bytes]]:
    """What a bundle holds: its evidence, and its payloads by their SHA-256 in the index."""
    data = path.read_bytes()
    with open_bundle(path) as bundle:
        evidence = bundle.evidence
    start = len(data) - sum(evidence.payloads.values())
    payloads = {}
    for sha256, size in sorted(evidence.payloads.items()):
        payloads[sha256] = data[start : start + size]
        start += size
    return evidence, payloads


def put_together(path: Path, evidence: Evidence, payloads: Mapping[str, bytes]) -> Path:
    """A bundle with all its digests right, whatever is in it."""
    lead, parts = sealed_index(evidence)
    path.write_bytes(b"".join([lead, *parts, *(data for _, data in sorted(payloads.items()))]))
    return path


def changed(path: Path, **changes: Any) -> Path:
    """A bundle in which some of the evidence is another."""
    evidence, payloads = taken_apart(path)
    return put_together(path.with_suffix(".changed"), replace(evidence, **changes), payloads)


def changed_artifact(path: Path, number: int, **changes: Any) -> Path:
    """A bundle in which one artifact's evidence is another."""
    evidence, _ = taken_apart(path)
    artifacts = list(evidence.artifacts)
    artifacts[number] = replace(artifacts[number], **changes)
    return changed(path, artifacts=tuple(artifacts))


def index_of(path: Path) -> dict[str, Any]:
    """The index of a bundle."""
    data = path.read_bytes()
    [size] = struct.unpack(">Q", data[16:24])
    index: dict[str, Any] = json.loads(data[HEADER_BYTES : HEADER_BYTES + size])
    return index


def with_index(path: Path, index: dict[str, Any] | bytes) -> Path:
    """A bundle with another index, its digest right, and all the parts as they were."""
    data = path.read_bytes()
    [size] = struct.unpack(">Q", data[16:24])
    new = index if isinstance(index, bytes) else json.dumps(index, separators=(",", ":")).encode()
    header = MAGIC + struct.pack(">Q", len(new)) + hashlib.sha256(new).digest()
    other = path.with_suffix(".indexed")
    other.write_bytes(header + new + data[HEADER_BYTES + size :])
    return other
