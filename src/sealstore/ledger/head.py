"""Heads: the signed summary of a chain after its last entry.

A repository's head (role *store*) says how long its history is, with the history's root and
frontier, the map's root, and which settings hold. An access log's head (role *access*) says the
first of these of its own chain. What a load or a store relies on is proven against a verified head.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final, Generic, TypeVar

import msgspec

from sealstore import limits
from sealstore.errors import LedgerFormatError, RetiredKeyError
from sealstore.ledger.documents import Count, decode_document, encode_document
from sealstore.ledger.merkle import Frontier
from sealstore.signed.envelope import (
    ACCESS_HEAD_PAYLOAD_TYPE,
    HEAD_PAYLOAD_TYPE,
    Signer,
    Verifier,
    open_envelope,
    seal,
)
from sealstore.signed.statement import Positive, RepositoryId, Sha256Hex, UtcTime
from sealstore.signed.verified import Verified, make_verified

LogId = RepositoryId
"""The id of an access log: 32 hexadecimal digits, random like a repository's."""


class ChainHead(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="kind",
):
    """What both kinds of head say of their chain; see ``Head`` and ``AccessHead``.

    Attributes:
        repository: the repository's id.
        size: number of entries.
        root: of the Merkle tree over them.
        frontier: of that tree.
        time: when the head was signed, UTC; not before that of the head that it follows.

    Raises:
        LedgerFormatError: the frontier is not that of the root.
    """

    repository: RepositoryId
    size: Count
    root: Sha256Hex
    frontier: tuple[Sha256Hex, ...]
    time: UtcTime

    def __post_init__(self) -> None:
        if self.tree().root().hex() != self.root:
            raise LedgerFormatError("A head's frontier does not lead to its root.")

    def tree(self) -> Frontier:
        """The frontier, to append to.

        Raises:
            LedgerFormatError: it is none of a tree of this size.
        """
        return Frontier(self.size, tuple(map(bytes.fromhex, self.frontier)))


class Head(ChainHead, frozen=True, kw_only=True, tag="head-v1"):
    """The summary of a repository after its last change; what else it says is in ``ChainHead``.

    Attributes:
        epoch: 1, and one more each time that the repository is rebuilt from its statements.
        map_root: root hash of the map, hexadecimal.
        settings_version: of the settings that hold.
        settings_digest: SHA-256 of the signed bytes of these settings.
    """

    epoch: Positive
    map_root: Sha256Hex
    settings_version: Positive
    settings_digest: Sha256Hex


class AccessHead(ChainHead, frozen=True, kw_only=True, tag="access-head-v1"):
    """The summary of an access log after its last entry; what else it says is in ``ChainHead``.

    Attributes:
        log: id of the log: one repository may have several, each where its loaders are.
    """

    log: LogId


AnyHead = TypeVar("AnyHead", Head, AccessHead)


class VerifiedHead(Verified, Generic[AnyHead], comes_from="ledger.open_head"):
    """A head that came out of an opened envelope; only ``open_head`` and its like can make one.

    Attributes:
        head: the decoded head.
        key_id: id of the active key that signed it.
    """

    __slots__ = ("head", "key_id")

    head: AnyHead
    key_id: str

    def __repr__(self) -> str:
        return f"<VerifiedHead {self.head.repository} {self.head.size}>"


_head_decoder: Final = msgspec.json.Decoder(Head)
_access_head_decoder: Final = msgspec.json.Decoder(AccessHead)


# ── making and opening ───────────────────────────────────────────────────────


def seal_head(head: Head, signer: Signer) -> bytes:
    """The envelope with a repository's head, signed by a key with the role *store*."""
    return seal(HEAD_PAYLOAD_TYPE, encode_head(head), signer)


def seal_access_head(head: AccessHead, signer: Signer) -> bytes:
    """The envelope with an access log's head, signed by a key with the role *access*."""
    return seal(ACCESS_HEAD_PAYLOAD_TYPE, encode_head(head), signer)


def encode_head(head: Head | AccessHead) -> bytes:
    """The one byte string of a head, without any signature.

    Raises:
        LedgerFormatError: more than ``limits.MAX_HEAD_BYTES``.
    """
    return encode_document(head, limits.MAX_HEAD_BYTES, "head")


def decode_head(data: bytes) -> Head:
    """The repository's head that ``data`` is; nobody's signature is checked.

    Raises:
        LedgerFormatError: any other bytes.
    """
    return decode_document(data, _head_decoder, limits.MAX_HEAD_BYTES, "head")


def decode_access_head(data: bytes) -> AccessHead:
    """The access log's head that ``data`` is; nobody's signature is checked.

    Raises:
        LedgerFormatError: any other bytes.
    """
    return decode_document(data, _access_head_decoder, limits.MAX_HEAD_BYTES, "access head")


def open_head(data: bytes, verifier: Verifier, active_keys: Container[str]) -> VerifiedHead[Head]:
    """The verified head of a repository.

    Whether it is the head of the repository that was meant, and not older than one seen before, is
    decided by ``continuity.require_extends``.

    Args:
        data: the envelope.
        verifier: the keys.
        active_keys: ids of those that are active. A retired key verifies what history holds, but
            vouches for nothing new.

    Raises:
        VerificationError: the envelope is refused, the key is retired or not for the repository
            that the head names, or the signed bytes are no head.
    """
    opened = open_envelope(data, HEAD_PAYLOAD_TYPE, verifier)
    head = decode_head(opened.payload)
    opened.scope.require(head.repository)
    return _verified(head, opened.key_id, active_keys)


def open_access_head(
    data: bytes, verifier: Verifier, active_keys: Container[str]
) -> VerifiedHead[AccessHead]:
    """The verified head of an access log; see ``open_head``.

    Raises:
        VerificationError: as ``open_head``.
    """
    opened = open_envelope(data, ACCESS_HEAD_PAYLOAD_TYPE, verifier)
    head = decode_access_head(opened.payload)
    opened.scope.require(head.repository)
    return _verified(head, opened.key_id, active_keys)


def _verified(head: AnyHead, key_id: str, active_keys: Container[str]) -> VerifiedHead[AnyHead]:
    if key_id not in active_keys:
        raise RetiredKeyError(f"Key {key_id}, which signed the head, is not active any more.")
    return make_verified(VerifiedHead, head=head, key_id=key_id)
