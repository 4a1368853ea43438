"""Requests for approvals and approvals as files, signing one, and which aliases are protected."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sealstore import files, limits, named_files
from sealstore.admin.key_changes import key_named
from sealstore.errors import (
    AliasInTheWayError,
    ApprovalFormatError,
    KeyRoleError,
    NotApprovedError,
    RepositoryMismatchError,
    SealstoreError,
    StorageError,
    UsageError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.names import Tag
from sealstore.repository.aliasing import Alias
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.approval import AliasMove, VerifiedApproval, decode_move, open_approval
from sealstore.signed.approving import encode_move, seal_approval
from sealstore.signed.settings import RepositorySettings
from sealstore.storage.catalogue.listing import ListFilter, artifact_names, count_artifacts

# ── files ────────────────────────────────────────────────────────────────────


def read_request(path: Path) -> AliasMove:
    """The move that a request is for.

    Raises:
        ApprovalFormatError: the file is no request.
        StorageError: it cannot be read.
    """
    try:
        return decode_move(_content(path, limits.MAX_APPROVAL_BYTES))
    except ApprovalFormatError as error:
        error.path = os.fspath(path)
        raise


def read_approvals(paths: Sequence[Path]) -> list[bytes]:
    """The envelopes in files; nothing of them is authenticated.

    Raises:
        StorageError: one cannot be read, or is larger than any approval.
    """
    return [_content(path, limits.MAX_APPROVAL_ENVELOPE_BYTES) for path in paths]


def write_request(path: Path, move: AliasMove) -> None:
    """Write a request for approvals to a new file: the very bytes that an approval signs.

    Raises:
        StorageError: the file is there already, or cannot be written.
    """
    write_new_file(path, encode_move(move))


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file that anybody may read, durably, never over another.

    Raises:
        StorageError: it is there already, or cannot be written.
    """
    try:
        with named_files.new_file(path, replacing=False, mode=0o644) as file:
            file.write(data)
    except OSError as error:
        raise StorageError(
            f"The file cannot be written ({error.strerror}).",
            path=path,
            hint="choose a file that does not exist yet, in a folder that you can write: {path}",
        ) from error


def _content(path: Path, limit: int) -> bytes:
    with named_files.reading("file", path):
        data = files.read(path, limit)
    # An editor, or a mail, may have added a line end; nothing else is passed over.
    return data.removesuffix(b"\n")


# ── signing ──────────────────────────────────────────────────────────────────


def sign_approval(
    settings: Settings, keyring: Keyring, move: AliasMove, key_id: str | None = None
) -> VerifiedApproval:
    """Approve a move; no repository is needed.

    Args:
        settings: says which repository is meant, where ``MODEL_REPO_ID`` is set.
        keyring: with the approver's key.
        move: what is approved.
        key_id: the key, or the beginning of its id; the newest that may approve by default.

    Raises:
        RepositoryMismatchError: the move is one of another repository than ``MODEL_REPO_ID``.
        NoSigningKeyError: no active key may approve for this repository.
        UnknownKeyError, KeyRoleError: no such key is there, or it may not approve.
    """
    if settings.repository_id not in (None, move.repository):
        raise RepositoryMismatchError(
            "The request is of another repository than MODEL_REPO_ID asks for; nothing was signed.",
            hint="ask whoever sent it which repository it is of.",
        )
    if key_id is not None:
        key = key_named(keyring, key_id)
        if not key.may_sign_for(Role.APPROVE):
            raise KeyRoleError(
                f"Key {key.key_id} may not approve.",
                hint="approvers need Ed25519 keys with the role approve: 'sealstore keys generate"
                " --algorithm ed25519 --role approve'.",
            )
        keyring = Keyring.of([key])
    signer = keyring.signer(Role.APPROVE, move.repository)
    return open_approval(seal_approval(move, signer), keyring)


# ── protecting ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Protection:
    """What protecting an alias means for what is there.

    Attributes:
        settings: that hold now.
        unapproved: aliases of this name that load nothing until a move of them is approved.
        approvers: how many active keys of this keyring may approve here.
    """

    settings: RepositorySettings
    unapproved: tuple[Alias, ...]
    approvers: int


def aliases_named(repository: Repository, alias: str) -> tuple[Alias, ...]:
    """Every alias of this name, of the names that the catalogue lists.

    Raises:
        SealstoreError: the repository's present state is refused.
    """
    return tuple(
        found
        for name in artifact_names(repository.catalogue)
        for found in repository.aliases(name)
        if found.alias == alias
    )


def protect_alias(
    repository: Repository, alias: str, approvals: int, actor: str | None = None
) -> Protection:
    """Let moves of an alias, of whatever name, need approvals.

    Args:
        repository: with active keys of the roles admin and store.
        alias: which.
        approvals: how many; 1 to ``limits.MAX_APPROVALS``.
        actor: who the caller says it is.

    Raises:
        InvalidNameError: the alias is invalid.
        AliasInTheWayError: artifacts are stored under it as a tag.
        NoSigningKeyError: no active keys have the roles admin and store here.
    """
    checked = Tag.to_store(alias)
    # The catalogue's word is enough: what it hides, a loader refuses afterwards.
    if count_artifacts(repository.catalogue, ListFilter(tag=str(checked))):
        raise AliasInTheWayError(f"Artifacts are stored under {checked} as a tag.")

    def protected(present: RepositorySettings) -> dict[str, int]:
        return {**present.protected_aliases, str(checked): approvals}

    settings = repository.change_settings(actor=actor, protected_aliases=protected)
    unapproved = []
    for found in aliases_named(repository, str(checked)):
        try:
            repository.get(found.name, found.alias)
        except NotApprovedError:
            unapproved.append(found)
        except SealstoreError:
            # Not loadable for another reason, which 'sealstore verify' shows.
            continue
    return Protection(settings, tuple(unapproved), _approvers(repository))


def unprotect_alias(
    repository: Repository, alias: str, actor: str | None = None
) -> RepositorySettings:
    """Let moves of an alias need no approvals any more.

    Raises:
        UsageError: they need none.
        NoSigningKeyError: no active keys have the roles admin and store here.
    """
    checked = str(Tag.to_store(alias))

    def protected(present: RepositorySettings) -> dict[str, int]:
        rest = dict(present.protected_aliases)
        if rest.pop(checked, None) is None:
            raise UsageError(
                f"{checked} is not protected.", hint="'sealstore alias list' shows what is."
            )
        return rest

    return repository.change_settings(actor=actor, protected_aliases=protected)


def _approvers(repository: Repository) -> int:
    return sum(
        1
        for key in repository.keyring
        if key.state is State.ACTIVE
        and key.may_sign_for(Role.APPROVE)
        and (key.scope.repositories is None or repository.id in key.scope.repositories)
    )
