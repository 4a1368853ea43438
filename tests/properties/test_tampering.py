"""Any byte of any file of a repository: changed, added, left out, or cut off.

A load gives exactly the object that was signed, or an error of the family: never another object,
never another exception. An older repository, whole, is what a first client cannot tell from
today's: it gets what was signed then; a client that remembers the head refuses. The keyring is no
part of a repository.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstore.errors import RollbackError, SealstoreError, VerificationError
from sealstore.keys.keyring import Keyring
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.trust import operating
from tests.sealstore_fixtures import (
    MODEL,
    Trap,
    consistent_row,
    digests_of,
    envelope_of,
    fewer_examples,
    hmac_key,
    insert_row,
    put_payload,
    sealed,
)

pytestmark = [pytest.mark.invariant(1), pytest.mark.invariant(2)]

KEYRING = Keyring.of([hmac_key(1)])
STRANGER = hmac_key(66)

OBJECTS: dict[tuple[str, str, int], Any] = {
    ("churn", "v1", 1): MODEL,
    ("churn", "v1", 2): {"weights": [1.5] * 50},
    ("churn", "v2", 1): [None, True, "text"],
    ("fraud", "v1", 1): {"an": "object"},
}


def loadable(stored: int) -> dict[tuple[str, str, int], Any]:
    """What loads once the first so many objects are stored, by what was asked for."""
    objects = dict(list(OBJECTS.items())[:stored])
    latest = {(name, "latest", 0): obj for (name, _, _), obj in objects.items()}
    return objects | latest


NOW = loadable(len(OBJECTS))
ONCE = [loadable(stored) for stored in range(len(OBJECTS))]


@dataclass(frozen=True)
class Scene:
    """A repository as it lay on the disk while it was open, and a place to attack a copy of it."""

    root: Path
    files: dict[str, bytes]
    artifacts: dict[tuple[str, str, int], Artifact]
    trap: Trap
    trust_record: bytes = b""
    """What a client that listed all of it remembers."""

    def restore(self, changed: dict[str, bytes], *, known: bool = False) -> None:
        """Put every file in its place as it was, but the changed ones.

        Args:
            changed: contents, by their names.
            known: whether the client remembers the repository's head, or comes for the first time.
        """
        trust = Settings.from_environment().trust_store(self.root)
        operating.forget(trust)
        if known:
            trust.path.write_bytes(self.trust_record)
        for path in self.root.rglob("*"):
            if path.is_file() and str(path.relative_to(self.root)) not in self.files:
                path.unlink()
        for name, content in (self.files | changed).items():
            path = self.root / name
            path.unlink(missing_ok=True)
            path.write_bytes(content)


def make_scene(folder: Path, *, checkpointed: bool) -> Scene:
    """Fill a repository; with a write-ahead log that holds all of it, or with none."""
    trap = Trap(folder / "the-canary-died")
    original = folder / "original"
    with Repository.create(original, keyring=KEYRING) as repository:
        artifacts = {
            key: repository.store(obj, *key[:2], metadata={"a": 1}) for key, obj in OBJECTS.items()
        }
        # A loaded gun: malicious, complete and consistent, but for the key that signed it.
        payload = trap.payload()
        put_payload(LocalBlobStore(original), original, payload)
        forged = sealed(
            STRANGER,
            digests_of(payload),
            repository=repository.id,
            name="gun",
            tag="v1",
            size=len(payload),
            sequence=99,
        )
        insert_row(repository, consistent_row(forged, STRANGER))
        if checkpointed:
            repository.close()
        copy = folder / "copy"
        shutil.copytree(original, copy)
    files = {
        str(path.relative_to(copy)): path.read_bytes()
        for path in copy.rglob("*")
        # The shared-memory index is made again from the log whenever a first reader comes.
        if path.is_file() and not path.name.endswith(("-shm", ".lock"))
    }
    assert any(name.endswith("-wal") for name in files) is not checkpointed
    scene = Scene(copy, files, artifacts, trap)
    with Repository.open(copy, keyring=KEYRING) as repository:
        repository.list()
    trust = Settings.from_environment().trust_store(copy)
    return replace(scene, trust_record=trust.path.read_bytes())


@pytest.fixture(scope="module")
def open_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """With everything in the write-ahead log."""
    scene = make_scene(tmp_path_factory.mktemp("open"), checkpointed=False)
    yield scene
    assert not scene.trap.sprung


@pytest.fixture(scope="module")
def closed_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """With everything in the catalogue's main file."""
    scene = make_scene(tmp_path_factory.mktemp("closed"), checkpointed=True)
    yield scene
    assert not scene.trap.sprung


def loaded(scene: Scene) -> dict[tuple[str, str, int], Any]:
    """What loads, by what was asked for; whatever is refused is not there.

    Raises:
        Exception: any that is none of the family, which fails the test.
    """
    found: dict[tuple[str, str, int], Any] = {}
    try:
        repository = Repository.open(scene.root, keyring=KEYRING)
    except SealstoreError:
        return found
    with repository:
        for name, tag, revision in OBJECTS:
            try:
                obj = repository.load(name, tag, revision=revision)
            except SealstoreError:
                continue
            found[name, tag, revision] = obj
        for name in ("churn", "fraud"):
            try:
                found[name, "latest", 0] = repository.load(name)
            except SealstoreError:
                continue
        for name in ("gun", "gun "):
            with pytest.raises(SealstoreError):
                repository.load(name, "v1")
        try:
            page = repository.list()
        except SealstoreError:
            pass
        else:
            assert {a.name for a in page.artifacts} <= {"churn", "fraud"}
    return found


def check(scene: Scene, changed: dict[str, bytes]) -> dict[tuple[str, str, int], Any]:
    """After the change, every load gave what was signed under that very name, or nothing.

    Returns:
        What a first client loaded.
    """
    scene.restore(changed)
    found = loaded(scene)
    if not part_of(NOW, found):
        assert any(part_of(then, found) for then in ONCE)
        scene.restore(changed, known=True)
        assert loaded(scene) == {}
    assert not scene.trap.sprung
    return found


def part_of(all_of_it: dict[tuple[str, str, int], Any], found: dict[Any, Any]) -> bool:
    """Whether everything that was found is what is there under that very name."""
    return all(key in all_of_it and obj == all_of_it[key] for key, obj in found.items())


def edited(data: st.DataObject, content: bytes) -> bytes:
    """The content with one thing done to it, anywhere."""
    place = data.draw(st.integers(0, max(len(content) - 1, 0)), label="place")
    kind = data.draw(st.sampled_from(["flip", "set", "insert", "delete", "truncate"]), label="kind")
    if kind == "flip" and content:
        bit = 1 << data.draw(st.integers(0, 7), label="bit")
        return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
    if kind == "set":
        new = data.draw(st.binary(min_size=1, max_size=8), label="bytes")
        return content[:place] + new + content[place + len(new) :]
    if kind == "insert":
        return content[:place] + data.draw(st.binary(min_size=1, max_size=8)) + content[place:]
    if kind == "delete":
        return content[:place] + content[place + data.draw(st.integers(1, 8)) :]
    return content[:place]


def commits(log: bytes) -> Iterator[int]:
    """Where a write-ahead log's transactions end; each commit's frame says the database's size.

    The layout is SQLite's file format, section 4.1: a header of 32 bytes, frames of 24 and a page.
    """
    page = int.from_bytes(log[8:12], "big")
    for start in range(32, len(log), 24 + page):
        if any(log[start + 4 : start + 8]):
            yield start + 24 + page


def test_nothing_is_changed_and_everything_loads(open_scene: Scene, closed_scene: Scene) -> None:
    """The scenes are sound: what the tests below find missing was taken away by them."""
    for scene in (open_scene, closed_scene):
        assert check(scene, {}) == NOW
        scene.restore({}, known=True)
        assert loaded(scene) == NOW


@given(data=st.data())
@fewer_examples(1)
def test_any_byte_of_any_file_of_an_open_repository(open_scene: Scene, data: st.DataObject) -> None:
    """Write-ahead log, settings, statements and payloads."""
    name = data.draw(st.sampled_from(sorted(open_scene.files)), label="file")
    content = edited(data, open_scene.files[name])
    check(open_scene, {name: content})


def test_a_write_ahead_log_cut_off_after_a_commit(open_scene: Scene) -> None:
    """Each is the repository as it once was: whole to a first client, refused by one that knows."""
    name = "catalogue.sqlite3-wal"
    log = open_scene.files[name]
    found = {end: check(open_scene, {name: log[:end]}) for end in (0, *commits(log))}
    assert [then for then in [*ONCE, NOW] if then not in found.values()] == []
    for end in (end for end, then in found.items() if then != NOW):
        open_scene.restore({name: log[:end]}, known=True)
        with pytest.raises(RollbackError):
            Repository.open(open_scene.root, keyring=KEYRING)


@given(data=st.data())
@fewer_examples(1)
def test_any_byte_of_the_catalogue(closed_scene: Scene, data: st.DataObject) -> None:
    """The database's own file: headers, pages, rows and what is between them."""
    content = edited(data, closed_scene.files["catalogue.sqlite3"])
    check(closed_scene, {"catalogue.sqlite3": content})


@given(data=st.data())
@fewer_examples(0.5)
def test_several_bytes_of_several_files(closed_scene: Scene, data: st.DataObject) -> None:
    """More than one change at a time, in more than one file."""
    names = data.draw(
        st.lists(st.sampled_from(sorted(closed_scene.files)), min_size=2, max_size=4, unique=True)
    )
    check(closed_scene, {name: edited(data, closed_scene.files[name]) for name in names})


@given(data=st.data())
@fewer_examples(0.5)
def test_files_in_each_others_places(open_scene: Scene, data: st.DataObject) -> None:
    """Genuine content under another file's name."""
    names = st.sampled_from(sorted(open_scene.files))
    here, there = data.draw(names, label="here"), data.draw(names, label="there")
    check(open_scene, {here: open_scene.files[there], there: open_scene.files[here]})


@given(data=st.data())
@fewer_examples(0.7)
def test_any_change_of_a_payload_is_refused(closed_scene: Scene, data: st.DataObject) -> None:
    """For payload bytes there is no harmless change: its artifact does not load, all others do."""
    key = data.draw(st.sampled_from(sorted(OBJECTS)), label="artifact")
    path = payload_of(closed_scene, key)
    genuine = closed_scene.files[path]
    changed = edited(data, genuine)
    if changed == genuine:
        return
    found = check(closed_scene, {path: changed})
    assert key not in found
    assert set(OBJECTS) - {key} <= set(found)


def payload_of(scene: Scene, key: tuple[str, str, int]) -> str:
    sha256 = scene.artifacts[key].digests.sha256
    return f"objects/{sha256[:2]}/{sha256}"


def test_every_byte_of_a_payload_counts(closed_scene: Scene) -> None:
    """Flipped, left out, doubled, at every place: refused without being run."""
    key = ("churn", "v2", 1)
    name = payload_of(closed_scene, key)
    genuine = closed_scene.files[name]
    closed_scene.restore({})
    path = closed_scene.root / name
    with Repository.open(closed_scene.root, keyring=KEYRING) as repository:
        for place in range(len(genuine)):
            before, after = genuine[:place], genuine[place + 1 :]
            for changed in (
                before + bytes([genuine[place] ^ (1 << place % 8)]) + after,
                before + after,
                genuine[: place + 1] + genuine[place:],
                before,
            ):
                path.unlink()
                path.write_bytes(changed)
                with pytest.raises(VerificationError):
                    repository.load("churn", "v2")
        path.unlink()
        path.write_bytes(genuine)
        assert repository.load("churn", "v2") == OBJECTS[key]


def test_every_byte_of_a_signed_statement_counts(closed_scene: Scene) -> None:
    """Changed in the catalogue's file itself, at every place of the envelope: refused."""
    key = ("fraud", "v1", 1)
    closed_scene.restore({})
    with Repository.open(closed_scene.root, keyring=KEYRING) as repository:
        envelope = envelope_of(repository, closed_scene.artifacts[key])
    catalogue = closed_scene.files["catalogue.sqlite3"]
    start = catalogue.index(envelope)
    assert catalogue.count(envelope) == 1
    for place in range(start, start + len(envelope), 5):
        changed = bytearray(catalogue)
        changed[place] ^= 1 << (place % 8)
        closed_scene.restore({"catalogue.sqlite3": bytes(changed)})
        with Repository.open(closed_scene.root, keyring=KEYRING) as repository:
            with pytest.raises(VerificationError):
                repository.load("fraud", "v1")
            assert repository.load("churn", "v1", revision=1) == MODEL


def test_every_byte_of_the_settings_counts(closed_scene: Scene) -> None:
    """Where nothing else has them, no byte of repository.json may differ but a last line feed."""
    genuine = closed_scene.files["repository.json"]
    closed_scene.restore({"repository.json": b"anything"})
    assert loaded(closed_scene)[("churn", "v1", 1)] == MODEL
    closed_scene.restore({})
    with closing(sqlite3.connect(closed_scene.root / "catalogue.sqlite3")) as database, database:
        database.execute("DELETE FROM settings")
    path = closed_scene.root / "repository.json"
    for place in range(len(genuine)):
        before, after = genuine[:place], genuine[place + 1 :]
        for changed in (
            before + bytes([genuine[place] ^ (1 << place % 8)]) + after,
            before + after,
            genuine[: place + 1] + genuine[place:],
        ):
            path.write_bytes(changed)
            if changed.removesuffix(b"\n") == genuine.removesuffix(b"\n"):
                continue
            with pytest.raises(SealstoreError):
                Repository.open(closed_scene.root, keyring=KEYRING)
    path.write_bytes(genuine)
    Repository.open(closed_scene.root, keyring=KEYRING).close()


@pytest.mark.parametrize("name", ["repository.json", "catalogue.sqlite3", "statements"])
def test_a_missing_part_is_an_error_of_the_family(closed_scene: Scene, name: str) -> None:
    """Nothing is made up for it; without the mirror everything loads."""
    closed_scene.restore({})
    path = closed_scene.root / name
    aside = closed_scene.root.parent / "aside"
    path.rename(aside)
    try:
        found = loaded(closed_scene)
        assert bool(found) is (name == "statements")
        assert not path.exists()
    finally:
        aside.rename(path)
    payload = closed_scene.root / payload_of(closed_scene, ("fraud", "v1", 1))
    payload.unlink()
    assert ("fraud", "v1", 1) not in loaded(closed_scene)
