"""A repository that is operated, against a plain model: whatever is done in whatever order.

Two of them: an origin, and a site that bundles are taken to. A rule for one more operation, such as
a backup, is a few lines here and what it does to ``modelled_site.Plain``.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sealstore.admin.keyring_file import export_public
from sealstore.bundles.checking import origin_trust, verify_bundle
from sealstore.bundles.creating import create_bundle
from sealstore.bundles.importing import import_bundle
from sealstore.bundles.verification import Continuity
from sealstore.errors import AliasInTheWayError
from sealstore.names import parse_request
from sealstore.trust import operating
from tests.properties import modelled_site
from tests.properties.modelled_site import Ref, Site, Stored
from tests.sealstore_fixtures import ed25519_key, fewer_examples, hmac_key

SITES = st.sampled_from(["origin", "origin", "site"])
NAMES = st.sampled_from(["churn", "fraud"])
TAGS = st.sampled_from(["a", "b", "both"])
ALIASES = st.sampled_from(["production", "both"])
"""They share a namespace with the tags, and a word."""
REVISIONS = st.none() | st.integers(1, 3)
OBJECTS = st.sampled_from(["one", "two", "three"]) | st.lists(st.integers(), max_size=3)
"""A few of them come again and again, since payloads are shared."""
MOST_KEYS = 4


class OperationsModel(RuleBasedStateMachine):
    """Both repositories beside their models, and the last bundle between them."""

    prepared: ClassVar[Path]
    """Where both empty repositories lie, to be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.prepared.parent))
        shutil.copytree(self.prepared, self.folder, dirs_exist_ok=True)
        self.sites = {name: Site(self.folder / name) for name in ("origin", "site")}
        self.origin, self.site = self.sites["origin"], self.sites["site"]
        self.remembered: tuple[Path, int] | None = None
        self.carried = 0

    def teardown(self) -> None:
        for site in self.sites.values():
            site.check()
            site.audit()
            site.repository.close()
        shutil.rmtree(self.folder)

    def some_artifact(self, at: str, data: st.DataObject) -> Ref | None:
        """One that is there; None if there is none."""
        stored = sorted(self.sites[at].plain.stored)
        return data.draw(st.sampled_from(stored), label="artifact") if stored else None

    # ── artifacts ────────────────────────────────────────────────────────────

    @initialize(objects=st.lists(OBJECTS, min_size=3, max_size=3))
    def store_some(self, objects: list[Any]) -> None:
        """There is something to begin with."""
        for obj, name, tag in zip(objects, ("churn", "churn", "fraud"), "aba", strict=True):
            self.origin.store(obj, name, tag)

    @rule(at=SITES, obj=OBJECTS, name=NAMES, tag=TAGS)
    def store(self, at: str, obj: Any, name: str, tag: str) -> None:
        """Under a new tag or an old one, what was stored before or not."""
        self.sites[at].store(obj, name, tag)

    @rule(at=SITES, name=NAMES, tag=TAGS, revision=REVISIONS)
    def remove(self, at: str, name: str, tag: str, revision: int | None) -> None:
        """One revision or all of a tag."""
        self.sites[at].remove(name, tag, revision)

    @rule(at=SITES, data=st.data(), whole_tag=st.booleans())
    def remove_something(self, at: str, data: st.DataObject, whole_tag: bool) -> None:
        """What is there, unless an alias means it."""
        ref = self.some_artifact(at, data)
        if ref is not None:
            self.sites[at].remove(*ref[:2], None if whole_tag else ref[2])

    @rule(at=SITES, name=NAMES, tag=TAGS, revision=REVISIONS)
    def load_a_tag(self, at: str, name: str, tag: str, revision: int | None) -> None:
        """The newest revision, or another one."""
        if (name, tag) not in self.sites[at].plain.moves:
            self.sites[at].load(name, tag, revision)

    @rule(at=SITES, name=NAMES, what=st.just("latest") | ALIASES)
    def load_what_moves(self, at: str, name: str, what: str) -> None:
        """What was stored last, or what an alias means."""
        self.sites[at].load(name, what)

    # ── aliases ──────────────────────────────────────────────────────────────

    @rule(at=SITES, name=NAMES, alias=ALIASES, tag=TAGS, revision=REVISIONS)
    def set_alias(self, at: str, name: str, alias: str, tag: str, revision: int | None) -> None:
        """To the newest revision of a tag, or to another one."""
        self.sites[at].move(name, alias, tag, revision)

    @rule(at=SITES, data=st.data(), alias=ALIASES)
    def set_alias_to_something(self, at: str, data: st.DataObject, alias: str) -> None:
        """To what is there."""
        ref = self.some_artifact(at, data)
        if ref is not None:
            self.sites[at].move(ref[0], alias, *ref[1:])

    @rule(at=SITES, name=NAMES, alias=ALIASES)
    def roll_back(self, at: str, name: str, alias: str) -> None:
        """To what it meant before."""
        self.sites[at].move(name, alias, None)

    @rule(at=SITES, name=NAMES, alias=ALIASES)
    def remove_alias(self, at: str, name: str, alias: str) -> None:
        """To nothing."""
        self.sites[at].remove_alias(name, alias)

    # ── operating ────────────────────────────────────────────────────────────

    @rule(at=SITES)
    def collect(self, at: str) -> None:
        """gc, without any grace."""
        self.sites[at].collect()

    @rule(at=SITES)
    def check(self, at: str) -> None:
        """Fsck."""
        self.sites[at].check()

    @rule(at=SITES)
    def audit(self, at: str) -> None:
        """Audit verify."""
        self.sites[at].audit()

    @rule(at=SITES)
    def reopen(self, at: str) -> None:
        """Another process goes on."""
        self.sites[at].reopen()

    @rule(at=SITES, copy=st.booleans())
    def back_up(self, at: str, copy: bool) -> None:
        """A snapshot."""
        self.sites[at].back_up(copy)

    @precondition(lambda self: any(each.snapshots for each in self.sites.values()))
    @rule(at=SITES, number=st.integers(0, 9))
    def restore(self, at: str, number: int) -> None:
        """Some snapshot takes the repository's place."""
        if self.sites[at].snapshots:
            self.sites[at].restore(number)
            self.forget_origin(at)

    @rule(at=SITES, damage=st.sampled_from(["artifact", "map_row"]))
    def rebuild(self, at: str, damage: str) -> None:
        """The catalogue is made again."""
        if self.sites[at].plain.stored:
            self.sites[at].rebuild(damage)
            self.forget_origin(at)

    def forget_origin(self, at: str) -> None:
        """The site's operator accepts that the origin is another one than was seen."""
        if at == "origin":
            operating.forget(origin_trust(self.site.settings, self.origin.repository.id))
            self.remembered = None

    @precondition(lambda self: min(len(each.own_keys) for each in self.sites.values()) < MOST_KEYS)
    @rule(at=SITES)
    def rotate(self, at: str) -> None:
        """A new key signs, the old one verifies."""
        if len(self.sites[at].own_keys) < MOST_KEYS:
            self.sites[at].rotate()

    @rule(at=SITES, data=st.data())
    def resign(self, at: str, data: st.DataObject) -> None:
        """An artifact gets the signature of today's key."""
        ref = self.some_artifact(at, data)
        if ref is not None:
            self.sites[at].resign(ref)

    # ── bundles ──────────────────────────────────────────────────────────────

    @precondition(lambda self: bool(self.origin.plain.stored))
    @rule(data=st.data(), proves=st.booleans())
    def carry(self, data: st.DataObject, proves: bool) -> None:
        """Some artifacts of the origin are verified at the site, and imported: all or none."""
        stored = self.origin.plain.stored
        chosen = data.draw(
            st.lists(st.sampled_from(sorted(stored)), min_size=1, max_size=4, unique=True),
            label="artifacts",
        )
        self.site.learn(export_public(self.origin.settings).keyring)
        self.carried += 1
        path = self.folder / f"{self.carried}.bundle"
        since = self.remembered[0] if self.remembered and proves else None
        refs = [parse_request(f"{name}:{tag}@{revision}") for name, tag, revision in chosen]
        create_bundle(self.origin.repository, refs, path, since=since)
        report = verify_bundle(path, self.site.settings, self.site.repository.keyring)
        assert report.findings == []
        assert {modelled_site.as_ref(each.verified.statement.ref) for each in report.artifacts} == {
            *chosen
        }
        self.take_in(path, sorted(chosen, key=lambda ref: stored[ref].sequence), since is not None)

    def take_in(self, path: Path, refs: list[Ref], proves: bool) -> None:
        site = self.site
        # Payloads are copied in any case: what nothing needs is garbage.
        site.plain.payloads |= {self.origin.plain.stored[ref].sha256 for ref in refs}
        if any(ref[:2] in site.plain.moves and not self.is_skipped(ref) for ref in refs):
            with pytest.raises(AliasInTheWayError):
                import_bundle(site.repository, path)
            return
        report = import_bundle(site.repository, path)
        size, before = self.origin.plain.changes, self.remembered
        if before is None:
            expected = Continuity.FIRST
        elif before[1] == size:
            expected = Continuity.SAME
        else:
            expected = Continuity.EXTENDS if proves else Continuity.NEWER
        assert report.continuity is expected
        assert report.remembered is (expected is not Continuity.NEWER)
        if report.remembered:
            self.remembered = (path, size)
        imported = [new for ref in refs if (new := self.imported(ref)) is not None]
        assert [modelled_site.as_ref(each.artifact.ref) for each in report.imported] == imported

    def is_skipped(self, ref: Ref) -> bool:
        """Whether the site had it already, or has its payload as the newest of the tag."""
        plain = self.site.plain
        newest = plain.newest(*ref[:2])
        sha256 = self.origin.plain.stored[ref].sha256
        return plain.has_imported(ref) or (
            newest is not None and plain.stored[newest].sha256 == sha256
        )

    def imported(self, ref: Ref) -> Ref | None:
        """Let the model import an artifact; None where it is skipped."""
        there, plain = self.origin.plain.stored[ref], self.site.plain
        if self.is_skipped(ref):
            return None
        signer = self.site.signer.key_id
        return plain.add(
            *ref[:2], lambda sequence: Stored(there.obj, sequence, signer, there.sha256, ref)
        )

    @invariant()
    def both_agree(self) -> None:
        """What they list, count and keep is what their models do."""
        for site in self.sites.values():
            site.agrees()


@pytest.fixture(scope="module", autouse=True)
def prepared(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("operations") / "prepared"
    modelled_site.prepare(folder / "origin", ed25519_key(1))
    modelled_site.prepare(folder / "site", hmac_key(2))
    OperationsModel.prepared = folder


OperationsModel.TestCase.settings = fewer_examples(0.12)
TestOperationsAgainstAPlainModel = pytest.mark.invariant(3)(OperationsModel.TestCase)
