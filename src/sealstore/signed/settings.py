"""The repository's settings: one document, signed by a key with the role *admin*.

Versions count from 1. The head says which version holds, with the digest of its signed bytes, so
that an older one is refused. ``repository.json`` shows the newest; the catalogue keeps all of them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Final, Literal

import msgspec

from sealstore import limits
from sealstore.errors import (
    InvalidNameError,
    RepositoryLayoutError,
    RevokedKeyError,
    StatementFormatError,
)
from sealstore.names import Tag
from sealstore.signed.envelope import SETTINGS_PAYLOAD_TYPE, Signer, Verifier, open_envelope, seal
from sealstore.signed.statement import Positive, RepositoryId, Sha256Hex, UtcTime, decode_canonical
from sealstore.signed.verified import Verified, make_verified

KeyId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
Approvals = Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_APPROVALS)]


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``policy.toml`` says, as the signed settings keep it.

    Attributes:
        mode: ``standard`` refuses what is dangerous, ``strict`` also what is unknown.
        allow, deny: exact entries, ``module:qualname`` or ``module:qualname use``.
    """

    mode: Literal["standard", "strict"] = "standard"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class RebuiltFrom(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """The last state of a repository that was known when it was rebuilt.

    Attributes:
        epoch, size, root, map_root: as its head, or a checkpoint of it, had them. Of size 0 where
            nothing but the epoch was known.
    """

    epoch: Positive
    size: Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_SEQUENCE)]
    root: Sha256Hex
    map_root: Sha256Hex


class RepositorySettings(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="layout",
    tag=1,
):
    """What the settings say. ``layout``, the version of the layout on disk, is 1.

    Attributes:
        repository: the repository's id.
        version: counts the changes of these settings from 1.
        created: when this version was signed, UTC.
        immutable_tags: whether storing a (name, tag) again is refused.
        policy: what payloads may import.
        revoked_keys: ids of keys that no client may trust any more, whatever its keyring says.
        protected_aliases: how many approvals moving an alias of this name needs.
        rebuilt_from: what the repository was rebuilt from, if it ever was: only who has the role
            admin can begin a new epoch.

    Raises:
        StatementFormatError: a key is revoked twice, or an alias is none.
    """

    repository: RepositoryId
    version: Positive
    created: UtcTime
    immutable_tags: bool
    policy: PolicySettings
    revoked_keys: tuple[KeyId, ...] = ()
    protected_aliases: dict[str, Approvals] = {}
    rebuilt_from: RebuiltFrom | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if len(set(self.revoked_keys)) != len(self.revoked_keys):
            raise StatementFormatError("The settings revoke a key twice.")
        for alias in self.protected_aliases:
            try:
                Tag.to_store(alias)
            except InvalidNameError as error:
                raise StatementFormatError("The settings protect what is no alias.") from error

    @property
    def epoch(self) -> int:
        """The epoch that these settings are of; a head of a different one is refused."""
        if isinstance(self.rebuilt_from, msgspec.UnsetType):
            return 1
        return self.rebuilt_from.epoch + 1


_decoder: Final[msgspec.json.Decoder[RepositorySettings]] = msgspec.json.Decoder(RepositorySettings)


class VerifiedSettings(Verified, comes_from="settings.open_settings"):
    """Settings that a trusted admin key signed.

    Attributes:
        document: what they say.
        digest: SHA-256 of the signed bytes, hexadecimal: what the head names.
        key_id: the key that signed them.
        envelope: the envelope's bytes.
    """

    __slots__ = ("digest", "document", "envelope", "key_id")

    document: RepositorySettings
    digest: str
    key_id: str
    envelope: bytes


def seal_settings(settings: RepositorySettings, signer: Signer) -> bytes:
    """The envelope with ``settings`` signed by an admin key."""
    return seal(SETTINGS_PAYLOAD_TYPE, msgspec.json.encode(settings), signer)


def open_settings(data: bytes, verifier: Verifier) -> VerifiedSettings:
    """The verified settings in an envelope.

    Raises:
        VerificationError: the envelope is refused.
        RepositoryLayoutError: the signed bytes are no settings of a layout that is known here.
    """
    try:
        opened = open_envelope(data, SETTINGS_PAYLOAD_TYPE, verifier)
    except RevokedKeyError as error:
        error.hint = (
            "if nobody but its owner had the key, 'sealstore resign --settings --accept ID' signs"
            " repository.json again; ID is the repository's id as you have it on record."
        )
        raise
    try:
        document = decode_canonical(opened.payload, _decoder, "settings document")
    except StatementFormatError as error:
        raise RepositoryLayoutError(
            f"{error.message} A newer release of sealstore may have written it.",
            hint="install the newest release of sealstore.",
        ) from error
    opened.scope.require(document.repository)
    digest = sha256(opened.payload).hexdigest()
    return make_verified(
        VerifiedSettings, document=document, digest=digest, key_id=opened.key_id, envelope=data
    )
