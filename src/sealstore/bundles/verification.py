"""Verification of a bundle. It does no I/O; it decides.

The numbers are those of ``sealstore.verification``, whose functions this calls: a bundle is to be
believed for the same reasons as a repository.

    1. What is named is an artifact                     format.Index
    2. The file is one bundle, undamaged                format, reading (I/O)
    3. The head is genuine and not older
       3a. one canonical envelope, exactly one signature, by a key with the role store
       3b. the key is active; or retired since, and this very head was accepted before
       3c. the key is for the repository that the head is of
       3d. it does not contradict what was seen of that repository before
       3e. the settings are the ones it names; no key that they revoke is believed
    4. Each artifact is proven against the head to be there
       4a. the map says so
       4b. the history, too, has it: the entry of its store, included in the head's root
    5. Its statement is genuine, and the one asked for: as 5a to 5e there
    6. The policy is asked by an import, not here: a bundle can be verified without any repository
    7. The payloads are the signed ones, all of them and no others
       7a. by size and SHA-256, as the index has them
       7b. by both digests, computed from their bytes  reading.BundleFile.copy_payload (I/O)

The keys that a bundle carries take no part in it. What no bundle can show is that there is no newer
head: that its artifacts were not removed since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from sealstore.bundles.format import ArtifactEvidence, Evidence, SinceEvidence, read_hints
from sealstore.errors import (
    BundleFormatError,
    LedgerTamperedError,
    RepositoryExchangedError,
    RevokedKeyError,
    RollbackError,
    SealstoreError,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.authenticated_map import positions_of
from sealstore.ledger.continuity import require_extends, require_not_older
from sealstore.ledger.head import Head, VerifiedHead, open_head
from sealstore.ledger.history import HistoryEntry, decode_history_entry
from sealstore.ledger.inclusion import verify_inclusion
from sealstore.ledger.merkle import leaf_hash
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.signed.envelope import VerifiedStatement
from sealstore.signed.settings import VerifiedSettings, open_settings
from sealstore.signed.verified import Verified, make_verified
from sealstore.verification import prove_answer, question_key, verify_head, verify_statement


class Continuity(StrEnum):
    """How a bundle's head stands to the newest that was seen of its repository here before."""

    FIRST = "first"
    """none was seen"""
    SAME = "same"
    """it is that one"""
    EXTENDS = "extends"
    """it is a later one: its history begins with all that was seen, and the bundle proves it"""
    NEWER = "newer"
    """it says that it is later, and the bundle has no proof of that"""
    OLDER = "older"
    """it is an earlier one, accepted by whoever asked"""
    REBUILT = "rebuilt"
    """the repository was rebuilt since, accepted by whoever asked"""


class VerifiedBundle(Verified, comes_from="verification.open_evidence"):
    """A bundle whose head is genuine.

    Attributes:
        evidence: what it was verified by.
        head: the head that everything in it is proven against.
        settings: those of the origin.
        keyring: the keys, less those that the origin revokes.
        continuity: see ``Continuity``.
    """

    __slots__ = ("continuity", "evidence", "head", "keyring", "settings")

    evidence: Evidence
    head: VerifiedHead[Head]
    settings: VerifiedSettings
    keyring: Keyring
    continuity: Continuity

    @property
    def repository(self) -> str:
        """Id of the repository that it comes from."""
        return self.head.head.repository

    @property
    def point(self) -> HistoryCheckpoint:
        """What is remembered of its head."""
        return HistoryCheckpoint.of(self.head.head)


class VerifiedArtifact(Verified, comes_from="verification.verify_artifact"):
    """An artifact that a bundle proves to be in its repository.

    Attributes:
        verified: the statement.
        entry: the entry of the history of its store.
        envelope: the envelope of the statement.
    """

    __slots__ = ("entry", "envelope", "verified")

    verified: VerifiedStatement
    entry: HistoryEntry
    envelope: bytes


Seen = Callable[[str], HistoryCheckpoint | None]
"""The newest head of a repository, by its id, that was seen here before, if any was."""


def never_seen(_repository: str) -> None:
    """Nothing was seen of any repository."""


def open_evidence(
    evidence: Evidence, keyring: Keyring, seen: Seen, *, accept_head: bool = False
) -> VerifiedBundle:
    """A bundle's head, with all that it vouches for but the artifacts (step 3).

    Args:
        evidence: of the bundle; unauthenticated.
        keyring: the keys. Those in the bundle are not among them.
        seen: tells the newest head of the bundle's repository that was seen here before.
        accept_head: whether an older head than that, or one of a repository rebuilt since, will do.

    Raises:
        VerificationError: it is refused.
        SealstoreError: what ``seen`` raises.
    """
    # A bundle with a secret key in it is refused whole; nothing is done with the keys.
    read_hints(evidence.keys)
    # steps 3a and 3c: the signature, its role and its repository; which repository the head is of
    # is not asked of bytes that no key has signed.
    signed = open_head(evidence.head, keyring, keyring.ids(State.ACTIVE, State.RETIRED))
    before = seen(signed.head.repository)
    # step 3b: by a key that is active, or was when this client saw the head
    verified = verify_head(evidence.head, keyring=keyring, accepted=before)
    head = verified.head
    # step 3d: it extends what was seen before
    continuity = _continuity(before, head, evidence.since, accept_head=accept_head)
    # step 3e: the settings are the ones that it names
    settings = open_settings(evidence.settings, keyring)
    if settings.digest != head.settings_digest:
        raise BundleFormatError("The settings in the bundle are not the ones that its head names.")
    revoked = settings.document.revoked_keys
    if verified.key_id in revoked:
        raise RevokedKeyError(f"Key {verified.key_id}, which signed the head, is revoked.")
    return make_verified(
        VerifiedBundle,
        evidence=evidence,
        head=verified,
        settings=settings,
        keyring=keyring.with_revoked(revoked),
        continuity=continuity,
    )


def _continuity(
    seen: HistoryCheckpoint | None, head: Head, since: SinceEvidence | None, *, accept_head: bool
) -> Continuity:
    if seen is None:
        return Continuity.FIRST
    point = HistoryCheckpoint.of(head)
    try:
        if point.size == seen.size:
            require_extends(seen, point, ())
            return Continuity.SAME
        require_not_older(seen, point)
        if since is None or since.entries != seen.size:
            return Continuity.NEWER
        require_extends(seen, point, since.proof)
        return Continuity.EXTENDS
    except RollbackError as error:
        if accept_head:
            return Continuity.OLDER
        error.hint = _ANOTHER_HEAD
        raise
    except RepositoryExchangedError as error:
        if accept_head and point.repository == seen.repository:
            return Continuity.REBUILT
        error.hint = _ANOTHER_HEAD
        raise


_ANOTHER_HEAD = (
    "have the bundle made again from the repository's present state; if this one is right all the"
    " same, --accept-head says so."
)


def verify_artifact(bundle: VerifiedBundle, evidence: ArtifactEvidence) -> VerifiedArtifact:
    """One artifact of a bundle, if all but its payload's bytes is right (steps 4, 5 and 7a).

    Raises:
        ArtifactNotFound: the origin's map proves that it is not there, or was removed.
        VerificationError, CatalogueTamperedError: it is refused.
    """
    head = bundle.head.head
    # step 4a: the rows lead from the root to this answer
    proven = prove_answer(head.map_root, evidence.ref, bundle.evidence.rows)
    # step 5: the statement is genuine, and the one asked for. There is no row beside the envelope
    # that could contradict it.
    verified = verify_statement(
        evidence.envelope,
        proven=proven,
        repository=head.repository,
        keyring=bundle.keyring,
        row_differences=lambda _: [],
    )
    statement = verified.statement
    # step 4b: the history has the entry of its store
    sequence = statement.predicate.sequence
    root = bytes.fromhex(head.root)
    leaf = leaf_hash(evidence.entry)
    verify_inclusion(leaf, sequence - 1, head.size, root, evidence.inclusion)
    entry = decode_history_entry(evidence.entry, sequence)
    _require_store_of(entry, verified)
    # step 7a: a payload of the signed size is in the bundle
    if bundle.evidence.payloads.get(statement.digests.sha256) != statement.predicate.size:
        raise BundleFormatError("The payload that was signed is not in the bundle.")
    return make_verified(
        VerifiedArtifact, verified=verified, entry=entry, envelope=evidence.envelope
    )


def _require_store_of(entry: HistoryEntry, verified: VerifiedStatement) -> None:
    statement, artifact = verified.statement, entry.artifact
    if (
        entry.event != "store"
        or artifact is None
        or (artifact.name, artifact.tag, artifact.revision, artifact.sha256, artifact.statement)
        != (
            statement.ref.name,
            statement.ref.tag,
            statement.ref.revision,
            statement.digests.sha256,
            verified.digest,
        )
    ):
        raise LedgerTamperedError("The history's entry in the bundle is not that of the store.")


def verify_evidence(
    evidence: Evidence, keyring: Keyring, seen: Seen, *, accept_head: bool = False
) -> tuple[VerifiedBundle, tuple[VerifiedArtifact, ...]]:
    """A bundle and all its artifacts, if everything but the payloads' bytes is right.

    Args:
        evidence, keyring, seen, accept_head: as for ``open_evidence``.

    Raises:
        SealstoreError: something is refused; it names the artifact, if it is about one.
    """
    bundle = open_evidence(evidence, keyring, seen, accept_head=accept_head)
    artifacts = tuple(_verified(bundle))
    require_nothing_else(bundle, artifacts)
    return bundle, artifacts


def _verified(bundle: VerifiedBundle) -> Iterator[VerifiedArtifact]:
    for each in bundle.evidence.artifacts:
        try:
            yield verify_artifact(bundle, each)
        except SealstoreError as error:
            error.for_artifact(each.ref)
            raise


def require_nothing_else(bundle: VerifiedBundle, artifacts: tuple[VerifiedArtifact, ...]) -> None:
    """Return if the bundle holds nothing that none of its artifacts needs (7a).

    Raises:
        BundleFormatError: it does.
    """
    signed = {each.verified.statement.digests.sha256 for each in artifacts}
    if not signed.issuperset(bundle.evidence.payloads):
        raise BundleFormatError("The bundle holds a payload that no artifact in it vouches for.")
    needed = {
        position
        for each in bundle.evidence.artifacts
        for position in positions_of(question_key(each.ref))
    }
    if not needed.issuperset(bundle.evidence.rows):
        raise BundleFormatError("The bundle holds rows of the map that prove nothing in it.")
