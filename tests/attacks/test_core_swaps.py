"""Genuine parts in wrong places: payloads, envelopes and rows that vouch for something else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    IdentityMismatchError,
    KeyRoleError,
    PayloadDigestError,
    RepositoryExchangedError,
    RepositoryLayoutError,
    RepositoryMismatchError,
    SealstoreError,
    SignatureInvalidError,
)
from sealstore.keys.keyring import Keyring, Role
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.signed.drafting import seal_statement
from sealstore.storage.layout import REPOSITORY_FILE
from tests.sealstore_fixtures import (
    MODEL,
    REPOSITORY_ID,
    Trap,
    change_row,
    consistent_row,
    envelope_of,
    hmac_key,
    insert_row,
    payload_path,
    put_payload,
    replace_payload,
    roles,
    run_sql,
    scope,
    statement,
)

pytestmark = [pytest.mark.invariant(1), pytest.mark.usefixtures("bystander")]

TWIN = {"weights": [number / 4 for number in range(100)], "name": "a model"}
"""As large as MODEL, byte for byte: no size gives the exchange away."""


def refuse(
    repository: Repository, error: type[SealstoreError], name: str, tag: str, **named: Any
) -> None:
    """Nothing that hands out an object or its bytes does so."""
    reads: list[Callable[..., Any]] = [
        repository.load,
        lambda *a, **n: repository.load(*a, **n, mmap_mode="r"),
        lambda *a, **n: repository.load(*a, **n, mmap_mode="c"),
        repository.verify,
        repository.read_payload,
    ]
    for read in reads:
        with pytest.raises(error) as refusal:
            read(name, tag, **named)
        assert refusal.value.artifact is not None
        assert refusal.value.artifact.startswith(f"{name}:{tag}")


# ── payloads ─────────────────────────────────────────────────────────────────


def test_two_payloads_swapped(repository: Repository, victim: Artifact) -> None:
    """Each payload is genuine, of the right size, and refused in the other's place."""
    twin = repository.store(TWIN, "twin", "v1")
    assert twin.size == victim.size
    here, there = payload_path(repository, victim), payload_path(repository, twin)
    mine, other = here.read_bytes(), there.read_bytes()
    replace_payload(here, other)
    replace_payload(there, mine)
    refuse(repository, PayloadDigestError, "victim", "v1")
    refuse(repository, PayloadDigestError, "twin", "v1")
    replace_payload(here, mine)
    assert repository.load("victim", "v1") == MODEL


def test_the_payload_of_an_older_revision_in_the_newest_ones_place(repository: Repository) -> None:
    """A roll-back of the file alone is refused, and the old revision loads on."""
    old, new = repository.store(TWIN, "m", "v1"), repository.store(MODEL, "m", "v1")
    assert old.size == new.size
    replace_payload(payload_path(repository, new), payload_path(repository, old).read_bytes())
    refuse(repository, PayloadDigestError, "m", "v1")
    refuse(repository, PayloadDigestError, "m", "latest")
    assert repository.load("m", "v1", revision=1) == TWIN


def test_a_malicious_payload_in_a_genuine_ones_place(
    repository: Repository, victim: Artifact, trap: Trap
) -> None:
    """Same name, same size, one pickle that runs code: it is not run."""
    replace_payload(payload_path(repository, victim), trap.payload(victim.size))
    refuse(repository, PayloadDigestError, "victim", "v1")
    assert not trap.sprung


def test_a_malicious_payload_under_its_own_digest_and_a_row_that_points_to_it(
    repository: Repository, victim: Artifact, trap: Trap
) -> None:
    """A row cannot send a load to another payload than the signed one."""
    planted = put_payload(repository.blobs, repository.root, trap.payload(victim.size))  # type: ignore[arg-type] # the local store
    change_row(repository, victim, sha256=planted.name)
    refuse(repository, CatalogueTamperedError, "victim", "v1")
    assert not trap.sprung


# ── envelopes ────────────────────────────────────────────────────────────────

Swap = Callable[[Repository, Artifact, Artifact], None]


def swap_envelopes(repository: Repository, one: Artifact, other: Artifact) -> None:
    """The envelopes alone."""
    first, second = envelope_of(repository, one), envelope_of(repository, other)
    change_row(repository, one, envelope=second)
    change_row(repository, other, envelope=first)


def swap_all_but_the_names(repository: Repository, one: Artifact, other: Artifact) -> None:
    """Whole rows that agree with their envelopes in every column but those that are looked up."""
    rows = [
        consistent_row(envelope_of(repository, artifact), hmac_key()) for artifact in (one, other)
    ]
    for artifact in (one, other):
        run_sql(repository, "DELETE FROM artifact WHERE sequence = ?", artifact.sequence)
    for mine, theirs in (rows, reversed(rows)):
        looked_up = {column: mine[column] for column in ("name", "tag", "revision")}
        insert_row(repository, theirs | looked_up)


@pytest.mark.parametrize("swap", [swap_envelopes, swap_all_but_the_names])
@pytest.mark.parametrize(
    "other",
    [("other", "v1"), ("victim", "v2"), ("victim", "v1")],
    ids=["names", "tags", "revisions"],
)
def test_two_envelopes_swapped(
    repository: Repository, victim: Artifact, swap: Swap, other: tuple[str, str]
) -> None:
    """A genuine envelope vouches for its own name, tag and revision, and for no other."""
    second = repository.store(TWIN, *other)
    swap(repository, victim, second)
    for artifact in (victim, second):
        refuse(
            repository,
            IdentityMismatchError,
            artifact.name,
            artifact.tag,
            revision=artifact.revision,
        )
    if other[0] != "victim":
        refuse(repository, IdentityMismatchError, "other", "latest")
    listed = repository.list()
    assert [artifact.name for artifact in listed.artifacts] == ["bystander"]
    assert len(listed.refused) == 2


def test_a_row_renamed(repository: Repository, victim: Artifact) -> None:
    """An artifact cannot be given another name, tag or revision by moving its row."""
    for columns, asked in (
        ({"name": "fraud"}, ("fraud", "v1", 1)),
        ({"name": "victim", "tag": "v9"}, ("victim", "v9", 1)),
        ({"tag": "v1", "revision": 9}, ("victim", "v1", 9)),
    ):
        change_row(repository, victim, **columns)
        name, tag, revision = asked
        refuse(repository, ArtifactNotFound, name, tag, revision=revision)
        refuse(repository, CatalogueTamperedError, "victim", "v1", revision=1)
        assert len(repository.list().refused) == 1
    change_row(repository, victim, revision=1)
    assert repository.load("victim", "v1") == MODEL


def test_an_old_row_made_the_latest_by_its_sequence(repository: Repository) -> None:
    """Which artifact is the latest is proven; a row that claims it is passed over, and named."""
    old = repository.store(TWIN, "m", "v1")
    repository.store(MODEL, "m", "v2")
    change_row(repository, old, sequence=1_000_000)
    assert repository.load("m", "latest") == MODEL
    assert repository.load("m", "v2") == MODEL
    refuse(repository, CatalogueTamperedError, "m", "v1")
    with pytest.raises(CatalogueTamperedError, match="sequence 1000000"):
        repository.store(MODEL, "m", "v3")


def test_the_mirror_of_another_artifact(repository: Repository, victim: Artifact) -> None:
    """Nothing is loaded by way of the mirror, whatever lies there."""
    folder = repository.root / "statements"
    shutil.rmtree(folder / "victim")
    shutil.copytree(folder / "bystander", folder / "victim")
    assert repository.load("victim", "v1") == MODEL
    assert repository.verify("victim").ref == victim.ref


# ── other repositories ───────────────────────────────────────────────────────


def test_an_envelope_of_another_repository(
    repository: Repository, other_repository: Repository, victim: Artifact
) -> None:
    """The same keys, the same name, tag and revision: the repository is signed too."""
    foreign = other_repository.store(TWIN, "victim", "v1", actor="job 7")
    replace_payload_of(repository, foreign, other_repository)
    row = consistent_row(envelope_of(other_repository, foreign), hmac_key())
    run_sql(repository, "DELETE FROM artifact WHERE sequence = ?", victim.sequence)
    insert_row(repository, row | {"sequence": victim.sequence})
    refuse(repository, IdentityMismatchError, "victim", "v1")
    change_row(repository, victim, sequence=foreign.sequence + 100)
    refuse(repository, IdentityMismatchError, "victim", "v1")


def replace_payload_of(repository: Repository, artifact: Artifact, source: Repository) -> None:
    """Copy a payload from one repository to another."""
    place = payload_path(repository, artifact)
    place.parent.mkdir(exist_ok=True)
    shutil.copy(payload_path(source, artifact), place)


def test_a_whole_catalogue_of_another_repository(
    repository: Repository, other_repository: Repository, keyring: Keyring
) -> None:
    """All rows, all payloads and all envelopes of another repository are worth nothing here."""
    foreign = other_repository.store(TWIN, "foreign", "v1")
    replace_payload_of(repository, foreign, other_repository)
    insert_row(
        repository,
        consistent_row(envelope_of(other_repository, foreign), hmac_key()) | {"sequence": 50},
    )
    refuse(repository, ArtifactNotFound, "foreign", "v1")
    assert [refused.row.name for refused in repository.list().refused] == ["foreign"]
    with Repository.open(other_repository.root, keyring=keyring) as opened:
        assert opened.load("foreign") == TWIN


def test_the_settings_of_another_repository(
    repository: Repository,
    other_repository: Repository,
    victim: Artifact,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The settings are the ones that the head names, whatever the file says."""
    shutil.copy(other_repository.root / REPOSITORY_FILE, repository.root / REPOSITORY_FILE)
    monkeypatch.setenv("MODEL_REPO_ID", REPOSITORY_ID)
    with Repository.open(repository.root, keyring=keyring) as opened:
        assert opened.load(victim.name, victim.tag) == MODEL
    [[genuine]] = run_sql(repository, "SELECT envelope FROM settings")
    for planted in (None, (other_repository.root / REPOSITORY_FILE).read_bytes()[:-1]):
        run_sql(repository, "DELETE FROM settings")
        if planted is not None:
            run_sql(repository, "INSERT INTO settings VALUES (1, ?)", planted)
        with pytest.raises(RepositoryLayoutError, match="not the ones that its signed head names"):
            Repository.open(repository.root, keyring=keyring)
    run_sql(repository, "UPDATE settings SET envelope = ?", genuine)


def test_a_whole_repository_of_the_same_keys_in_this_ones_place(
    repository: Repository, other_repository: Repository, keyring: Keyring, tmp_path: Path
) -> None:
    """A client that was here before knows the difference, and so does MODEL_REPO_ID."""
    other_repository.store(TWIN, "victim", "v1")
    for each in (repository, other_repository):
        each.close()
    repository.root.rename(tmp_path / "aside")
    shutil.copytree(other_repository.root, repository.root)
    with pytest.raises(RepositoryExchangedError):
        Repository.open(repository.root, keyring=keyring)
    shutil.rmtree(repository.root)
    (tmp_path / "aside").rename(repository.root)


def test_another_repository_than_the_configured_one_at_first_use(
    other_repository: Repository, keyring: Keyring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A client that remembers nothing goes by MODEL_REPO_ID."""
    monkeypatch.setenv("MODEL_REPO_TRUST_STATE", str(tmp_path / "a new client"))
    monkeypatch.setenv("MODEL_REPO_ID", REPOSITORY_ID)
    with pytest.raises(RepositoryMismatchError):
        Repository.open(other_repository.root, keyring=keyring)


@pytest.mark.parametrize("changes", [{"roles": roles(Role.STORE)}, {"scope": scope("0" * 32)}])
def test_settings_signed_by_a_key_that_may_not(
    repository: Repository, reopen: Callable[..., Repository], changes: dict[str, Any]
) -> None:
    """Whoever may store, or rules elsewhere, cannot say what this repository is."""
    with pytest.raises(KeyRoleError):
        reopen(hmac_key(**changes))


def test_settings_with_immutable_tags_switched_off(
    repository: Repository, keyring: Keyring
) -> None:
    """The settings are signed: no bit of them is turned by an editor, in the catalogue or out."""
    path = repository.root / REPOSITORY_FILE
    envelope = path.read_bytes()
    [[kept]] = run_sql(repository, "SELECT envelope FROM settings")
    start = envelope.index(b'"payload":"') + len(b'"payload":"')
    for position in range(start, start + 100, 7):
        changed = bytearray(envelope)
        changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
        path.write_bytes(changed)
        run_sql(repository, "UPDATE settings SET envelope = ?", bytes(changed)[:-1])
        with pytest.raises(SignatureInvalidError):
            Repository.open(repository.root, keyring=keyring)
    run_sql(repository, "UPDATE settings SET envelope = ?", kept)
    # One of the two is enough, and the head says which.
    Repository.open(repository.root, keyring=keyring).close()
    path.write_bytes(envelope)


def test_a_statement_that_nobody_stored_but_a_genuine_key_signed(
    repository: Repository, victim: Artifact
) -> None:
    """A signature alone hands out nothing: no head vouches for it."""
    envelope = seal_statement(statement(name="ghost", tag="v1", sequence=77), hmac_key())
    insert_row(repository, consistent_row(envelope, hmac_key()))
    for tag in ("v1", "v2", "latest"):
        refuse(repository, ArtifactNotFound, "ghost", tag)
        with pytest.raises(ArtifactNotFound):
            repository.get("ghost", tag)
    assert [refused.row.name for refused in repository.list().refused] == ["ghost"]
    assert repository.load(victim.name) == MODEL
