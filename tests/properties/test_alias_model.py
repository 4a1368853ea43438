"""Aliases against a plain dictionary: whatever is done in whatever order, both agree."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sealstore.audit.verifying import audit_aliases
from sealstore.errors import (
    AliasInTheWayError,
    ApprovalMismatchError,
    ArtifactInUseError,
    ArtifactNotFound,
    NotApprovedError,
)
from sealstore.keys.keyring import Key, Keyring
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from tests.alias_moves import approvals, approver, public_part
from tests.sealstore_fixtures import fewer_examples, hmac_key

NAMES = st.sampled_from(["churn", "fraud"])
SEGMENTS = st.sampled_from(["a", "b", "c", "d"])
"""Tags and aliases share a namespace, so they share the strategy, too."""
APPROVERS = [approver(number) for number in (1, 2, 3)]

Target = tuple[str, int]
Alias = tuple[str, str]


class AliasModel(RuleBasedStateMachine):
    """The repository under test beside dictionaries of what should be in it."""

    base: ClassVar[Path]
    """Where the examples' repositories lie."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.base))
        self.stored: set[tuple[str, str, int]] = set()
        self.given_out: dict[tuple[str, str], int] = {}
        self.moves: dict[Alias, list[Target | None]] = {}
        self.by: dict[Alias, int] = {}
        self.protected: dict[str, int] = {}
        self.old: list[bytes] = []
        ring = Keyring.of([hmac_key(), *map(public_part, APPROVERS)])
        settings = Settings.from_environment({"MODEL_REPO_TRUST_STATE": str(self.folder / "trust")})
        self.repository = Repository.create(
            self.folder / "repository", keyring=ring, settings=settings
        )

    def teardown(self) -> None:
        self.repository.close()
        shutil.rmtree(self.folder)

    # ── the model ────────────────────────────────────────────────────────────

    def newest(self, name: str, tag: str) -> Target | None:
        left = [key[2] for key in self.stored if key[:2] == (name, tag)]
        return (tag, max(left)) if left else None

    def means(self, alias: Alias) -> Target | None:
        return self.moves[alias][-1] if alias in self.moves else None

    def refusal(
        self, alias: Alias, target: Target | None, tag: str | None
    ) -> type[Exception] | None:
        """Why the alias cannot be moved there, but for approvals."""
        if alias in self.given_out or (tag is not None and (alias[0], tag) in self.moves):
            return AliasInTheWayError
        if target is None:
            return ArtifactNotFound
        return None

    # ── artifacts ────────────────────────────────────────────────────────────

    @rule(name=NAMES, tag=SEGMENTS)
    def store(self, name: str, tag: str) -> None:
        """Under a tag, and never under an alias, even one that was removed."""
        if (name, tag) in self.moves or tag in self.protected:
            with pytest.raises(AliasInTheWayError):
                self.repository.store("x", name, tag)
            return
        revision = self.given_out.get((name, tag), 0) + 1
        self.repository.store([name, tag, revision], name, tag)
        self.given_out[name, tag] = revision
        self.stored.add((name, tag, revision))

    @rule(name=NAMES, tag=SEGMENTS)
    def remove(self, name: str, tag: str) -> None:
        """All of a tag, unless an alias means some of it."""
        gone = {key for key in self.stored if key[:2] == (name, tag)}
        meant = {(alias[0], *target) for alias in self.moves if (target := self.means(alias))}
        expected: type[Exception] | None = None
        if (name, tag) in self.moves:
            expected = AliasInTheWayError
        elif not gone:
            expected = ArtifactNotFound
        elif gone & meant:
            expected = ArtifactInUseError
        if expected is not None:
            with pytest.raises(expected):
                self.repository.remove(name, tag)
            return
        self.repository.remove(name, tag)
        self.stored -= gone

    # ── moves ────────────────────────────────────────────────────────────────

    def move(self, alias: Alias, target: Target | None, tag: str | None, by: int) -> None:
        keys: list[Key] = APPROVERS[:by]
        refusal = self.refusal(alias, target, tag)
        if refusal is not None:
            with pytest.raises(refusal):
                self.repository.request_approvals(*alias, tag)
            with pytest.raises(refusal):
                self.set_or_roll_back(alias, tag, [])
            return
        assert target is not None
        move = self.repository.request_approvals(*alias, tag)
        given = approvals(move, *keys)
        if by < self.protected.get(alias[1], 0):
            with pytest.raises(NotApprovedError):
                self.set_or_roll_back(alias, tag, given)
            return
        self.set_or_roll_back(alias, tag, given)
        self.moves.setdefault(alias, []).append(target)
        self.by[alias] = by
        self.old = given or self.old

    def set_or_roll_back(self, alias: Alias, tag: str | None, given: list[bytes]) -> None:
        if tag is None:
            self.repository.rollback_alias(*alias, approvals=given)
        else:
            self.repository.set_alias(*alias, tag, approvals=given)

    @rule(name=NAMES, alias=SEGMENTS, tag=SEGMENTS, by=st.integers(0, 3))
    def set_alias(self, name: str, alias: str, tag: str, by: int) -> None:
        """To the newest revision of a tag, with approvals or without."""
        self.move((name, alias), self.newest(name, tag), tag, by)

    @rule(name=NAMES, alias=SEGMENTS, by=st.integers(0, 3))
    def roll_back(self, name: str, alias: str, by: int) -> None:
        """To what it meant before, if that is still there."""
        before = self.moves.get((name, alias), [])[-2:-1]
        target = before[0] if before else None
        if target is not None and (name, *target) not in self.stored:
            target = None
        self.move((name, alias), target, None, by)

    @rule(name=NAMES, alias=SEGMENTS, tag=SEGMENTS)
    def replay(self, name: str, alias: str, tag: str) -> None:
        """Approvals that moved something once move nothing again."""
        if not self.old or self.refusal((name, alias), self.newest(name, tag), tag):
            return
        with pytest.raises(ApprovalMismatchError):
            self.repository.set_alias(name, alias, tag, approvals=self.old)

    @rule(name=NAMES, alias=SEGMENTS)
    def remove_alias(self, name: str, alias: str) -> None:
        """It means nothing, and stays an alias."""
        expected: type[Exception] | None = None
        if (name, alias) in self.given_out:
            expected = AliasInTheWayError
        elif self.means((name, alias)) is None:
            expected = ArtifactNotFound
        elif alias in self.protected:
            expected = NotApprovedError
        if expected is not None:
            with pytest.raises(expected):
                self.repository.remove_alias(name, alias)
            return
        self.repository.remove_alias(name, alias)
        self.moves[name, alias].append(None)

    @rule(alias=SEGMENTS, needed=st.integers(0, 3))
    def protect(self, alias: str, needed: int) -> None:
        """Any alias, tag or neither, with any number of approvals, or with none again."""
        self.protected.pop(alias, None)
        if needed:
            self.protected[alias] = needed
        self.repository.change_settings(protected_aliases=dict(self.protected))

    # ── loading ──────────────────────────────────────────────────────────────

    @rule(name=NAMES, segment=SEGMENTS)
    def load(self, name: str, segment: str) -> None:
        """What an alias or a tag means, if what protects it allows it."""
        alias = (name, segment)
        target = self.means(alias) if alias in self.moves else self.newest(name, segment)
        if target is None:
            with pytest.raises(ArtifactNotFound):
                self.repository.load(name, segment)
            return
        needed = self.protected.get(segment, 0)
        if needed > self.by.get(alias, 0) if alias in self.moves else needed:
            with pytest.raises(NotApprovedError):
                self.repository.load(name, segment)
            return
        assert self.repository.load(name, segment) == [name, *target]
        found = self.repository.get(name, segment)
        assert (found.tag, found.revision) == target

    @invariant()
    def the_aliases_are_those_of_the_model(self) -> None:
        """What they mean, how often they moved, in the order of their first moves."""
        for name in ("churn", "fraud"):
            listed = [
                (each.alias, (each.tag, each.revision), each.move)
                for each in self.repository.aliases(name)
            ]
            assert listed == [
                (alias[1], self.means(alias), len(moves))
                for alias, moves in self.moves.items()
                if alias[0] == name and self.means(alias) is not None
            ]

    @rule()
    def audit(self) -> None:
        """Every move was made by the rules of its time, and the history has each."""
        assert audit_aliases(self.repository) == []
        for (name, alias), moves in self.moves.items():
            entries = self.repository.alias_history(name, alias, limit=1000)
            told = [(e.details["tag"], e.details["revision"]) for e in reversed(entries)]
            assert told == [target or (None, None) for target in moves]


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> None:
    AliasModel.base = tmp_path_factory.mktemp("aliases")


AliasModel.TestCase.settings = fewer_examples(0.3)
TestAliasesAgainstADictionary = pytest.mark.invariant(3)(AliasModel.TestCase)
