"""What to do about each error, by its code: read when an error is shown, and not before.

An error whose code does not stand here has the hint of the error that it is a kind of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

HINTS: Final = {
    "REPOSITORY_NOT_FOUND": (
        "make one with 'sealstore init', or set MODEL_REPO_PATH to an existing one; 'sealstore"
        " restore' brings a lost one back."
    ),
    "CATALOGUE_TAMPERED": (
        "do not use this artifact; find out who wrote to the catalogue, then restore it from a"
        " backup."
    ),
    "ACCESS_LOG": (
        "'sealstore doctor' looks for the reason (disk full, permissions, lock); where the"
        " repository is mounted read-only, MODEL_REPO_ACCESS_LOG_URL names a log that this"
        " process may write."
    ),
    "ACCESS_LOG_NOT_FOUND": (
        "if there has never been one, make it with 'sealstore audit init'; otherwise restore it"
        " from a backup, and find out who removed it."
    ),
    "ACCESS_LOG_EXISTS": (
        "point MODEL_REPO_ACCESS_LOG_URL to an empty database, or use the log that is there."
    ),
    "KNOWN_LOCATION": (
        "find out where the repository went, and restore it from a backup; if it was given up"
        " on purpose, 'sealstore trust forget' lets a new one begin in its place."
    ),
    "ARTIFACT_NOT_FOUND": "'sealstore list' shows what is stored.",
    "ALIAS_IN_THE_WAY": "choose another name: 'sealstore alias list' shows the aliases.",
    "ARTIFACT_IN_USE": (
        "let the alias mean another artifact ('sealstore alias set'), or remove it, before."
    ),
    "IMMUTABLE_TAG": "store it under a new tag.",
    "KEYRING_NOT_FOUND": (
        "make a key with 'sealstore init' or 'sealstore keys generate', or point"
        " MODEL_REPO_KEYRING to an existing keyring."
    ),
    "NO_SIGNING_KEY": (
        "make one with 'sealstore init' (together with a new repository) or 'sealstore keys"
        " generate'; 'sealstore keys list' shows what is there."
    ),
    "TRUST_STATE_FORMAT": (
        "if a newer release of sealstore wrote it, install that release; else restore {path}"
        " from a backup, or find out which state of the repository is right and say so with"
        " 'sealstore trust accept'."
    ),
    "VERIFICATION": "do not use this artifact; 'sealstore verify' repeats the check.",
    "UNKNOWN_KEY": (
        "if the signer is one that you trust, add its key to the keyring ('sealstore keys"
        " import'); 'sealstore keys list' shows which are there."
    ),
    "REVOKED_KEY": "store the object again, from a trusted source, with an active key.",
    "APPROVAL_FORMAT": (
        "if a newer release of sealstore wrote it, install that release; otherwise ask for it"
        " again with 'sealstore approve request'."
    ),
    "APPROVAL_MISMATCH": (
        "ask for approvals of this very move: 'sealstore approve request' writes what is to be"
        " signed now."
    ),
    "NOT_APPROVED": (
        "ask for approvals with 'sealstore approve request', and apply them with 'sealstore"
        " approve apply'; the approvers' public keys, with the role approve, belong into this"
        " keyring."
    ),
    "RETIRED_KEY": (
        "sign the head again with an active key of the role that it needs; any change of the"
        " repository does that."
    ),
    "LEDGER_FORMAT": (
        "if a newer release of sealstore wrote it, install that release; otherwise find out who"
        " changed it, and restore it from a backup."
    ),
    "LEDGER_TAMPERED": (
        "find out who wrote to the ledger's database; a backup and the checkpoints that are"
        " kept elsewhere show what it said before."
    ),
    "ROLLBACK": (
        "find out who put the older state there; if it was restored from a backup on purpose,"
        " an operator says so on each client: 'sealstore trust accept --current'."
    ),
    "REPOSITORY_EXCHANGED": (
        "find out who exchanged it; if that was on purpose, an operator says so on each client:"
        " 'sealstore trust accept --current'."
    ),
    "FIRST_USE": (
        "begin with a checkpoint from somebody you trust: 'sealstore trust init --checkpoint FILE'."
    ),
    "HEAD_STALE": (
        "if nothing was stored for so long, 'sealstore heartbeat' signs the head again, by"
        " whoever may store; otherwise find out who keeps newer states of the repository from"
        " this client."
    ),
    "CLOCK": (
        "set the clock right; if it was wrong when the newer time was recorded, 'sealstore"
        " trust accept' forgets that time."
    ),
    "PAYLOAD_MISSING": "restore it from a backup: its file name is the SHA-256 of its content.",
    "BUNDLE_FORMAT": (
        "copy the file again, or have the bundle made again; if a newer release of sealstore"
        " made it, install that release."
    ),
    "POLICY": (
        "'sealstore policy check' shows each import with its reason. If you trust one, add it"
        " to 'allow' in policy.toml, with its use where the reason asks for one; or store the"
        " object in another form."
    ),
    "POLICY_FILE": (
        "write mode, allow and deny, each entry as 'module:qualname' or 'module:qualname called'."
    ),
    "COMPONENT_CLASS": (
        "move the class into an installed package; a class defined in a component exists only"
        " in the process that ran that component."
    ),
    "OBJECT_LOAD": (
        "install the packages and versions that 'sealstore show' lists for it; the cause is"
        " attached to this error."
    ),
    "ENVIRONMENT_MISMATCH": (
        "install the versions that 'sealstore show' lists, or store the object again."
    ),
}
"""By code; ``{path}`` stands for the file concerned."""


def hint_of(codes: Iterable[str]) -> str:
    """What to do about an error.

    Args:
        codes: its code, and those of the errors that it is a kind of, the nearest first.

    Returns:
        The hint of the first that has one; empty where none has.
    """
    return next((HINTS[code] for code in codes if code in HINTS), "")
