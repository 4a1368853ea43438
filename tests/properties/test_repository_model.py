"""A repository against a plain dictionary: whatever is done in whatever order, both agree."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from sealstore.errors import (
    ArtifactNotFound,
    NoSigningKeyError,
    NotSerialisableError,
    RevokedKeyError,
)
from sealstore.keys import Key, Keyring, State, write_keyring_file
from sealstore.names import request
from sealstore.repository import Repository
from sealstore.settings import Settings
from tests.sealstore_fixtures import ed25519_key, fewer_examples, hmac_key

NAMES = st.sampled_from(["churn", "fraud", "a_b", "a"])
TAGS = st.sampled_from(["v1", "v2", "b_c", "c"])
OBJECTS = st.one_of(
    st.integers(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=2),
)


@dataclass
class Stored:
    """What the model knows of an artifact."""

    obj: Any
    sequence: int
    key_id: str


class RepositoryModel(RuleBasedStateMachine):
    """The repository under test beside a dictionary of what should be in it."""

    base: ClassVar[Path]
    """Where the examples' repositories lie."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.base))
        self.stored: dict[tuple[str, str, int], Stored] = {}
        self.given_out: dict[tuple[str, str], int] = {}
        self.changes = 1
        self.keys: list[Key] = [hmac_key(1)]
        self.settings_key = self.keys[0].key_id
        self.settings = Settings.from_environment(
            {"MODEL_REPO_KEYRING": str(self.folder / "keys" / "ring.json")}
        )
        self.write_keys()
        self.repository = Repository.create(self.folder / "repository", settings=self.settings)

    def teardown(self) -> None:
        self.repository.close()
        shutil.rmtree(self.folder)

    # ── the model ────────────────────────────────────────────────────────────

    def write_keys(self) -> None:
        write_keyring_file(self.settings.keyring_path, Keyring.of(self.keys))

    def state_of(self, key_id: str) -> State:
        return next(key.state for key in self.keys if key.key_id == key_id)

    @property
    def signer(self) -> str | None:
        active = [key for key in self.keys if key.state is State.ACTIVE]
        return active[-1].key_id if active else None

    def revisions(self, name: str, tag: str) -> list[int]:
        return sorted(key[2] for key in self.stored if key[:2] == (name, tag))

    def latest(self, name: str) -> tuple[str, str, int] | None:
        of_name = [key for key in self.stored if key[0] == name]
        return max(of_name, key=lambda key: self.stored[key].sequence, default=None)

    def expect(self, key: tuple[str, str, int] | None, *asked: Any, **named: Any) -> None:
        """A load, a look and a check agree with the model on what was asked for."""
        if key is None:
            for read in (self.repository.load, self.repository.get, self.repository.verify):
                with pytest.raises(ArtifactNotFound):
                    read(*asked, **named)
            return
        known = self.stored[key]
        if self.state_of(known.key_id) is State.REVOKED:
            for read in (self.repository.load, self.repository.get, self.repository.verify):
                with pytest.raises(RevokedKeyError):
                    read(*asked, **named)
            return
        assert self.repository.load(*asked, **named) == known.obj
        for look in (self.repository.get, self.repository.verify):
            artifact = look(*asked, **named)
            assert (artifact.name, artifact.tag, artifact.revision) == key
            assert (artifact.sequence, artifact.key_id) == (known.sequence, known.key_id)

    # ── storing ──────────────────────────────────────────────────────────────

    @rule(name=NAMES, tag=TAGS, obj=OBJECTS)
    def store(self, name: str, tag: str, obj: Any) -> None:
        """Stored as the next revision, or refused where no key may sign."""
        signer = self.signer
        if signer is None:
            with pytest.raises(NoSigningKeyError):
                self.repository.store(obj, name, tag)
            return
        artifact = self.repository.store(obj, name, tag, metadata={"change": self.changes})
        self.changes += 1
        revision = self.given_out.get((name, tag), 0) + 1
        self.given_out[name, tag] = revision
        assert (artifact.revision, artifact.sequence) == (revision, self.changes)
        self.stored[name, tag, revision] = Stored(obj, self.changes, signer)

    @rule(name=NAMES, tag=TAGS)
    def fail_to_store(self, name: str, tag: str) -> None:
        """What cannot be pickled leaves no trace."""
        with pytest.raises((NotSerialisableError, NoSigningKeyError)):
            self.repository.store(["x" * 100, threading.Lock()], name, tag)

    @rule(name=NAMES, tag=TAGS, which=st.none() | st.integers(1, 4))
    def remove(self, name: str, tag: str, which: int | None) -> None:
        """One revision or all of a tag."""
        gone = [each for each in self.revisions(name, tag) if which in (None, each)]
        if self.signer is None or not gone:
            with pytest.raises(NoSigningKeyError if self.signer is None else ArtifactNotFound):
                self.repository.remove(name, tag, revision=which)
            return
        removed = self.repository.remove(name, tag, revision=which)
        assert [(ref.name, ref.tag, ref.revision) for ref in removed] == [
            (name, tag, each) for each in gone
        ]
        self.changes += len(gone)
        for each in gone:
            del self.stored[name, tag, each]

    # ── loading ──────────────────────────────────────────────────────────────

    @rule(name=NAMES, tag=TAGS)
    def load_a_tag(self, name: str, tag: str) -> None:
        """The newest revision of a tag."""
        revisions = self.revisions(name, tag)
        self.expect((name, tag, revisions[-1]) if revisions else None, name, tag)

    @rule(name=NAMES, tag=TAGS, revision=st.integers(1, 5))
    def load_a_revision(self, name: str, tag: str, revision: int) -> None:
        """That revision, or nothing."""
        key = (name, tag, revision)
        self.expect(key if key in self.stored else None, name, tag, revision=revision)

    @rule(name=NAMES, spelling=st.sampled_from(["latest", "LATEST", "Latest"]))
    def load_the_latest(self, name: str, spelling: str) -> None:
        """What was stored last and is still there."""
        self.expect(self.latest(name), name, spelling)

    # ── keys ─────────────────────────────────────────────────────────────────

    @precondition(lambda self: len(self.keys) < 6)
    @rule(retire=st.booleans())
    def rotate(self, retire: bool) -> None:
        """A new key signs from now on; the old ones may be retired."""
        number = len(self.keys) + 1
        if retire:
            self.keys = [
                replace(key, state=State.RETIRED) if key.state is State.ACTIVE else key
                for key in self.keys
            ]
        self.keys.append((ed25519_key if number % 2 else hmac_key)(number))
        self.write_keys()

    @rule(data=st.data(), state=st.sampled_from([State.RETIRED, State.REVOKED]))
    def set_a_state(self, data: st.DataObject, state: State) -> None:
        """Any key is retired or revoked, while the repository is open."""
        number = data.draw(st.integers(0, len(self.keys) - 1), label="key")
        ring = Keyring.of(self.keys)
        if self.keys[number].state is not State.REVOKED:
            self.keys = list(ring.with_state(self.keys[number].key_id, state))
            self.write_keys()

    @precondition(lambda self: bool(self.stored))
    @rule(data=st.data())
    def resign(self, data: st.DataObject) -> None:
        """An artifact gets a signature of today's key, unless its own was revoked."""
        key = data.draw(st.sampled_from(sorted(self.stored)), label="artifact")
        known, signer = self.stored[key], self.signer
        if signer is None:
            with pytest.raises(NoSigningKeyError):
                self.repository.resign(request(*key))
        elif self.state_of(known.key_id) is State.REVOKED:
            with pytest.raises(RevokedKeyError):
                self.repository.resign(request(*key))
        else:
            self.changes += known.key_id != signer
            known.key_id = signer
            assert self.repository.resign(request(*key)).key_id == signer

    # ── the process ──────────────────────────────────────────────────────────

    @rule()
    def open_again(self) -> None:
        """Another process would see the same, if the key of the settings still counts."""
        root = self.repository.root
        if self.state_of(self.settings_key) is State.REVOKED:
            with pytest.raises(RevokedKeyError):
                Repository.open(root, settings=self.settings)
            return
        self.repository.close()
        self.repository = Repository.open(root, settings=self.settings)

    @rule()
    def close(self) -> None:
        """Connections are given back, and taken anew when they are needed."""
        self.repository.close()

    # ── looking around ───────────────────────────────────────────────────────

    @rule(limit=st.integers(1, 4), name=st.none() | NAMES)
    def list_everything(self, limit: int, name: str | None) -> None:
        """Page by page, newest first: the verified ones and the refused ones."""
        wanted = sorted(
            (key for key in self.stored if name in (None, key[0])),
            key=lambda key: -self.stored[key].sequence,
        )
        shown: list[tuple[str, str, int]] = []
        refused: list[int] = []
        after = None
        while True:
            page = self.repository.list(limit=limit, after=after, name=name)
            shown += [(each.name, each.tag, each.revision) for each in page.artifacts]
            refused += [each.row.sequence for each in page.refused]
            after = page.next_cursor
            if after is None:
                break
        revoked = [key for key in wanted if self.state_of(self.stored[key].key_id) is State.REVOKED]
        assert shown == [key for key in wanted if key not in revoked]
        assert refused == [self.stored[key].sequence for key in revoked]

    @invariant()
    def the_history_counts_every_change(self) -> None:
        """No entry is missing and none is there twice."""
        newest = self.repository.history(limit=1)
        assert newest[0].sequence == self.changes


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> None:
    RepositoryModel.base = tmp_path_factory.mktemp("model")


RepositoryModel.TestCase.settings = fewer_examples(0.1)
TestRepositoryAgainstADictionary = pytest.mark.invariant(3)(RepositoryModel.TestCase)
