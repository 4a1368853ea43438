"""A repository against a plain dictionary: whatever is done in whatever order, both agree."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
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

from sealstore.admin.key_changes import retire_key, revoke_key, rotate_key
from sealstore.admin.keyring_file import generate_key, keys_in_file
from sealstore.errors import (
    ArtifactNotFound,
    NotSerialisableError,
    RevokedKeyError,
)
from sealstore.keys.keyring import Key, Keyring, State
from sealstore.keys.writing import write_keyring_file
from sealstore.names import request
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from tests.sealstore_fixtures import fewer_examples, hmac_key

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
        self.settings = Settings.from_environment(
            {
                "MODEL_REPO_PATH": str(self.folder / "repository"),
                "MODEL_REPO_KEYRING": str(self.folder / "keys" / "ring.json"),
            }
        )
        write_keyring_file(self.settings.keyring_path, Keyring.of([hmac_key(1)]))
        self.repository = Repository.create(self.folder / "repository", settings=self.settings)

    def teardown(self) -> None:
        self.repository.close()
        shutil.rmtree(self.folder)

    # ── the model ────────────────────────────────────────────────────────────

    @property
    def keys(self) -> list[Key]:
        return list(keys_in_file(self.settings))

    @property
    def active(self) -> list[str]:
        return [key.key_id for key in self.keys if key.state is State.ACTIVE]

    def state_of(self, key_id: str) -> State:
        return next(key.state for key in self.keys if key.key_id == key_id)

    @property
    def signer(self) -> str:
        return self.active[-1]

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
        """Stored as the next revision, signed with the newest key."""
        signer = self.signer
        artifact = self.repository.store(obj, name, tag, metadata={"change": self.changes})
        self.changes += 1
        revision = self.given_out.get((name, tag), 0) + 1
        self.given_out[name, tag] = revision
        assert (artifact.revision, artifact.sequence) == (revision, self.changes)
        self.stored[name, tag, revision] = Stored(obj, self.changes, signer)

    @rule(name=NAMES, tag=TAGS)
    def fail_to_store(self, name: str, tag: str) -> None:
        """What cannot be pickled leaves no trace."""
        with pytest.raises(NotSerialisableError):
            self.repository.store(["x" * 100, threading.Lock()], name, tag)

    @rule(name=NAMES, tag=TAGS, which=st.none() | st.integers(1, 4))
    def remove(self, name: str, tag: str, which: int | None) -> None:
        """One revision or all of a tag."""
        gone = [each for each in self.revisions(name, tag) if which in (None, each)]
        if not gone:
            with pytest.raises(ArtifactNotFound):
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
    @rule(algorithm=st.sampled_from(["hmac-sha256", "ed25519"]))
    def add_a_key(self, algorithm: str) -> None:
        """A new key signs from now on; the old ones verify."""
        generate_key(self.settings, algorithm, repositories=None)

    @precondition(lambda self: len(self.keys) < 6)
    @rule()
    def rotate(self) -> None:
        """A new key takes over head and settings, and the newest one is retired."""
        assert rotate_key(self.settings).settings_error is None
        self.changes += 1

    @precondition(lambda self: len(self.active) > 1)
    @rule(data=st.data(), change=st.sampled_from([retire_key, revoke_key]))
    def take_back(self, data: st.DataObject, change: Callable[[Settings, str], object]) -> None:
        """An active key is retired or revoked, while the repository is open."""
        change(self.settings, data.draw(st.sampled_from(self.active), label="key"))
        # The signatures move; and a revocation is in the settings, too.
        self.changes += 1 if change is retire_key else 2

    @precondition(lambda self: bool(self.stored))
    @rule(data=st.data())
    def resign(self, data: st.DataObject) -> None:
        """An artifact gets a signature of today's key, unless its own was revoked."""
        key = data.draw(st.sampled_from(sorted(self.stored)), label="artifact")
        known, signer = self.stored[key], self.signer
        if self.state_of(known.key_id) is State.REVOKED:
            with pytest.raises(RevokedKeyError):
                self.repository.resign(request(*key))
        else:
            self.changes += known.key_id != signer
            known.key_id = signer
            assert self.repository.resign(request(*key)).key_id == signer

    # ── the process ──────────────────────────────────────────────────────────

    @rule()
    def open_again(self) -> None:
        """Another process would see the same."""
        self.repository.close()
        self.repository = Repository.open(settings=self.settings)

    @rule()
    def close(self) -> None:
        """Connections are given back, and taken again when they are needed."""
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
