"""One family of errors: each says what failed, for which artifact, and what to do.

No error carries payload bytes or other unverified bytes, and none ends the process. ``code`` is
stable: scripts, the ledger and hetida designer rely on it. File paths stand apart from the text
(``path``, shown where ``{path}`` stands in the hint), so that an error can be shown to people who
must not learn the layout of a server.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, Self


def printable(text: str) -> str:
    """``text`` with every control, format and separator character escaped, safe for a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn, in printable characters, at the line outside of sealstore that led here.

    Args:
        text: what to tell.
        category: the warning's class.
    """
    level, frame = 2, sys._getframe(1).f_back
    while frame is not None and _is_our_own(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(text), category, stacklevel=level + 1)


def _is_our_own(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    # A block that is a generator is left by way of the standard library.
    return name.partition(".")[0] in ("sealstore", "contextlib")


class SealstoreError(Exception):
    """Base of every error that sealstore raises on purpose.

    Args:
        message: what failed, one sentence without a path.
        artifact: the artifact concerned, as ``name:tag`` or ``name:tag@revision``.
        hint: what to do now; ``{path}`` stands for ``path``.
        path: the file concerned.
    """

    code: ClassVar[str] = "SEALSTORE_ERROR"
    default_hint: ClassVar[str] = ""
    # hetida designer shows errors with this mark and an error_code in its results.
    __is_hetida_designer_exception__: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        artifact: object | None = None,
        hint: str | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.artifact = None if artifact is None else str(artifact)
        self.hint = self.default_hint if hint is None else hint
        self.path = None if path is None else os.fspath(path)
        self._show_directories = True

    @property
    def error_code(self) -> str:
        """The stable code under the name that hetida designer looks for."""
        return self.code

    def for_artifact(self, artifact: object) -> Self:
        """This error, naming ``artifact`` if it names none yet."""
        if self.artifact is None:
            self.artifact = str(artifact)
        return self

    def without_directories(self) -> Self:
        """This error, showing file names only: for readers who must not see a server's paths."""
        self._show_directories = False
        return self

    def __str__(self) -> str:
        about = f"{self.artifact}: " if self.artifact else ""
        text = f"{about}{self.message}"
        path = self.path or ""
        shown_path = path if self._show_directories else os.path.basename(path)
        if self.hint:
            text = f"{text} To do: {self.hint.replace('{path}', shown_path)}"
        elif path:
            text = f"{text} ({shown_path})"
        return printable(text)


class UsageError(SealstoreError, ValueError):
    """A request that can never succeed as it was written."""

    code = "USAGE"


class InvalidNameError(UsageError):
    """A name, tag or alias breaks one of the rules of ``sealstore.names``."""

    code = "INVALID_NAME"


class ReservedTagError(InvalidNameError):
    """The tag ``latest`` was used where something is stored."""

    code = "RESERVED_TAG"


class InvalidMetadataError(UsageError):
    """Metadata that JSON cannot carry exactly, or more than the limit."""

    code = "INVALID_METADATA"


class UnsupportedMmapModeError(UsageError):
    """A ``mmap_mode`` that would write to the stored file."""

    code = "UNSUPPORTED_MMAP_MODE"


class UnknownFormatError(SealstoreError):
    """No format of that name is installed."""

    code = "UNKNOWN_FORMAT"


class MissingExtraError(SealstoreError):
    """An optional package is needed and absent."""

    code = "MISSING_EXTRA"


class ConfigurationError(SealstoreError):
    """An environment variable or a setting has a value that cannot be used."""

    code = "CONFIGURATION"


# ── the repository as a place ────────────────────────────────────────────────


class RepositoryNotFoundError(SealstoreError):
    """There is no repository at the given place."""

    code = "REPOSITORY_NOT_FOUND"
    default_hint = (
        "make one with 'sealstore init', or set MODEL_REPO_PATH to an existing one; 'sealstore"
        " restore' brings a lost one back."
    )


class RepositoryExistsError(SealstoreError):
    """A repository, or other files, are already at the given place."""

    code = "REPOSITORY_EXISTS"


class RepositoryLayoutError(SealstoreError):
    """``repository.json`` is missing, unreadable or of an unknown layout version."""

    code = "REPOSITORY_LAYOUT"


class RepositoryMismatchError(SealstoreError):
    """Another repository was expected here (MODEL_REPO_ID)."""

    code = "REPOSITORY_MISMATCH"


class SchemaVersionError(SealstoreError):
    """The catalogue's schema is older or newer than this release's."""

    code = "SCHEMA_VERSION"


class CatalogueError(SealstoreError):
    """The catalogue's database cannot be used: locked, corrupt, out of reach, not writable."""

    code = "CATALOGUE"


class CatalogueTamperedError(SealstoreError):
    """The catalogue contradicts a signed statement, or what it says cannot be proven."""

    code = "CATALOGUE_TAMPERED"
    default_hint = (
        "do not use this artifact; find out who wrote to the catalogue, then restore it from a"
        " backup."
    )


class AccessLogError(SealstoreError):
    """The access log cannot be read or written; nothing is handed out that is not on record."""

    code = "ACCESS_LOG"
    default_hint = (
        "'sealstore doctor' looks for the reason (disk full, permissions, lock); where the"
        " repository is mounted read-only, MODEL_REPO_ACCESS_LOG_URL names a log that this process"
        " may write."
    )


class AccessLogNotFoundError(AccessLogError):
    """There is no access log where one is expected, or it has lost its head."""

    code = "ACCESS_LOG_NOT_FOUND"
    default_hint = (
        "if there has never been one, make it with 'sealstore audit init'; otherwise restore it"
        " from a backup, and find out who removed it."
    )


class AccessLogExistsError(AccessLogError):
    """An access log, or what is left of one, is where one was to be made."""

    code = "ACCESS_LOG_EXISTS"
    default_hint = (
        "point MODEL_REPO_ACCESS_LOG_URL to an empty database, or use the log that is there."
    )


class KnownLocationError(SealstoreError):
    """This client remembers a repository where a new one was to be begun."""

    code = "KNOWN_LOCATION"
    default_hint = (
        "find out where the repository went, and restore it from a backup; if it was given up on"
        " purpose, 'sealstore trust forget' lets a new one begin in its place."
    )


class StorageError(SealstoreError):
    """The file system refused: disk full, read-only, permission denied."""

    code = "STORAGE"


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what the file system raises into ``StorageError``.

    Args:
        what: what cannot be done then.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{what} ({error.strerror or type(error).__name__}).",
            hint="check free space, permissions and the mount of the repository.",
        ) from error


class ArtifactNotFound(SealstoreError, FileNotFoundError):
    """There is no such artifact in this repository."""

    code = "ARTIFACT_NOT_FOUND"
    default_hint = "'sealstore list' shows what is stored."


class AliasInTheWayError(SealstoreError):
    """A tag and an alias cannot share a name."""

    code = "ALIAS_IN_THE_WAY"
    default_hint = "choose another name: 'sealstore alias list' shows the aliases."


class ArtifactInUseError(SealstoreError):
    """An alias means the artifact, so it cannot be removed."""

    code = "ARTIFACT_IN_USE"
    default_hint = (
        "let the alias mean another artifact ('sealstore alias set'), or remove it, before."
    )


class RebuildRefusedError(SealstoreError):
    """The catalogue cannot be rebuilt from what is there, or need not be."""

    code = "REBUILD_REFUSED"


class BackupRefusedError(SealstoreError):
    """A backup that cannot be made, or one that is not restored."""

    code = "BACKUP_REFUSED"


class BundleRefusedError(SealstoreError):
    """A genuine bundle that cannot be made, or does not belong into this repository."""

    code = "BUNDLE_REFUSED"


class ImmutableTagError(SealstoreError):
    """The repository was created with immutable tags and this tag exists."""

    code = "IMMUTABLE_TAG"
    default_hint = "store it under a new tag."


# ── keys ─────────────────────────────────────────────────────────────────────


class KeyringError(SealstoreError):
    """The keyring cannot be used."""

    code = "KEYRING"


class KeyringNotFoundError(KeyringError):
    """There is no keyring where one is configured."""

    code = "KEYRING_NOT_FOUND"
    default_hint = (
        "make a key with 'sealstore init' or 'sealstore keys generate', or point MODEL_REPO_KEYRING"
        " to an existing keyring."
    )


class KeyringPermissionsError(KeyringError):
    """A key file that others can read or write, or that lies inside the repository."""

    code = "KEYRING_PERMISSIONS"


class KeyringFormatError(KeyringError):
    """A key file that does not decode strictly, or holds a weak or duplicate key."""

    code = "KEYRING_FORMAT"


class NoSigningKeyError(KeyringError):
    """No active key of the keyring may sign what is to be signed."""

    code = "NO_SIGNING_KEY"
    default_hint = (
        "make one with 'sealstore init' (together with a new repository) or 'sealstore keys"
        " generate'; 'sealstore keys list' shows what is there."
    )


# ── the trust state ──────────────────────────────────────────────────────────


class TrustStateError(SealstoreError):
    """What this client remembers of the repository cannot be read or written."""

    code = "TRUST_STATE"


class TrustStatePermissionsError(TrustStateError):
    """A trust state that others can write, that is no regular file, or lies in the repository."""

    code = "TRUST_STATE_PERMISSIONS"


class TrustStateFormatError(TrustStateError):
    """A trust state that does not decode strictly, or is that of another location."""

    code = "TRUST_STATE_FORMAT"
    default_hint = (
        "if a newer release of sealstore wrote it, install that release; else restore {path} from a"
        " backup, or find out which state of the repository is right and say so with 'sealstore"
        " trust accept'."
    )


# ── verification: every one of these is a refusal ────────────────────────────


class VerificationError(SealstoreError):
    """Base of the refusals: what was read is not what a trusted key signed."""

    code = "VERIFICATION"
    default_hint = "do not use this artifact; 'sealstore verify' repeats the check."


class EnvelopeFormatError(VerificationError):
    """Bytes that are not one well-formed DSSE envelope with exactly one signature."""

    code = "ENVELOPE_FORMAT"


class UnknownKeyError(VerificationError):
    """The envelope names a key that the keyring does not hold: ``key_id``, where one was named."""

    code = "UNKNOWN_KEY"
    default_hint = (
        "if the signer is one that you trust, add its key to the keyring ('sealstore keys import');"
        " 'sealstore keys list' shows which are there."
    )
    key_id: str = ""


class RevokedKeyError(VerificationError):
    """The envelope was signed with a key that has been revoked."""

    code = "REVOKED_KEY"
    default_hint = "store the object again, from a trusted source, with an active key."


class KeyRoleError(VerificationError):
    """The key lacks the role for what it signed, or is not for this repository."""

    code = "KEY_ROLE"


class SignatureInvalidError(VerificationError):
    """The signature does not fit the bytes."""

    code = "SIGNATURE_INVALID"


class ApprovalFormatError(VerificationError):
    """An approval, or a request for one, that does not decode strictly."""

    code = "APPROVAL_FORMAT"
    default_hint = (
        "if a newer release of sealstore wrote it, install that release; otherwise ask for it again"
        " with 'sealstore approve request'."
    )


class ApprovalMismatchError(VerificationError):
    """A genuine approval, but of another move than the one that is to be made."""

    code = "APPROVAL_MISMATCH"
    default_hint = (
        "ask for approvals of this very move: 'sealstore approve request' writes what is to be"
        " signed now."
    )


class NotApprovedError(VerificationError):
    """A protected alias, and fewer valid approvals than its moves need."""

    code = "NOT_APPROVED"
    default_hint = (
        "ask for approvals with 'sealstore approve request', and apply them with 'sealstore approve"
        " apply'; the approvers' public keys, with the role approve, belong into this keyring."
    )


class StatementFormatError(VerificationError):
    """A statement that does not decode strictly."""

    code = "STATEMENT_FORMAT"


class IdentityMismatchError(VerificationError):
    """A genuine statement, but of another artifact or another repository."""

    code = "IDENTITY_MISMATCH"


class RetiredKeyError(VerificationError):
    """Something new was signed with a retired key, which verifies only what history holds."""

    code = "RETIRED_KEY"
    default_hint = (
        "sign the head again with an active key of the role that it needs; any change of the"
        " repository does that."
    )


class LedgerFormatError(VerificationError):
    """A head, an entry, a checkpoint or a value of the map that does not decode strictly."""

    code = "LEDGER_FORMAT"
    default_hint = (
        "if a newer release of sealstore wrote it, install that release; otherwise find out who"
        " changed it, and restore it from a backup."
    )


class LedgerTamperedError(VerificationError):
    """The ledger contradicts its signed head: entries were changed, removed, added or moved."""

    code = "LEDGER_TAMPERED"
    default_hint = (
        "find out who wrote to the ledger's database; a backup and the checkpoints that are kept"
        " elsewhere show what it said before."
    )


class ProofError(LedgerTamperedError):
    """A proof that does not lead from what it should prove to the signed root."""

    code = "PROOF"


class RollbackError(VerificationError):
    """The repository is older than one that was seen before in its place."""

    code = "ROLLBACK"
    default_hint = (
        "find out who put the older state there; if it was restored from a backup on purpose, an"
        " operator says so on each client: 'sealstore trust accept --current'."
    )


class RepositoryExchangedError(VerificationError):
    """Another repository, or a rebuilt one, is where a known one was."""

    code = "REPOSITORY_EXCHANGED"
    default_hint = (
        "find out who exchanged it; if that was on purpose, an operator says so on each client:"
        " 'sealstore trust accept --current'."
    )


class FirstUseError(VerificationError):
    """Nothing is remembered of this repository, and MODEL_REPO_FIRST_USE=refuse is set."""

    code = "FIRST_USE"
    default_hint = (
        "begin with a checkpoint from somebody you trust: 'sealstore trust init --checkpoint FILE'."
    )


class StaleHeadError(VerificationError):
    """The repository's head is older than MODEL_REPO_MAX_AGE allows: it may have been frozen."""

    code = "HEAD_STALE"
    default_hint = (
        "if nothing was stored for so long, 'sealstore heartbeat' signs the head again, by whoever"
        " may store; otherwise find out who keeps newer states of the repository from this client."
    )


class ClockError(VerificationError):
    """This machine's clock is behind a time that was seen before, so no age can be judged."""

    code = "CLOCK"
    default_hint = (
        "set the clock right; if it was wrong when the newer time was recorded, 'sealstore trust"
        " accept' forgets that time."
    )


class PayloadMissingError(VerificationError):
    """The payload that the statement vouches for is not in the repository."""

    code = "PAYLOAD_MISSING"
    default_hint = "restore it from a backup: its file name is the SHA-256 of its content."


class PayloadFileError(VerificationError):
    """What lies in the payload's place is not a regular file."""

    code = "PAYLOAD_FILE"


class PayloadSizeError(VerificationError):
    """The payload has another size than the statement says."""

    code = "PAYLOAD_SIZE"


class PayloadDigestError(VerificationError):
    """The payload's digest is not the one that was signed."""

    code = "PAYLOAD_DIGEST"


class BundleFormatError(VerificationError):
    """A file that is not one bundle, or one that was damaged."""

    code = "BUNDLE_FORMAT"
    default_hint = (
        "copy the file again, or have the bundle made again; if a newer release of sealstore made"
        " it, install that release."
    )


class UnsignedImportError(VerificationError):
    """The payload asked for an import that its signed statement does not list."""

    code = "UNSIGNED_IMPORT"


# ── the policy ───────────────────────────────────────────────────────────────


class PolicyError(SealstoreError):
    """The policy refuses imports of the payload; nothing of it was loaded."""

    code = "POLICY"
    default_hint = (
        "'sealstore policy check' shows each import with its reason. If you trust one, add it to"
        " 'allow' in policy.toml, with its use where the reason asks for one; or store the object"
        " in another form."
    )


class PolicyFileError(ConfigurationError):
    """A policy that does not decode strictly."""

    code = "POLICY_FILE"
    default_hint = (
        "write mode, allow and deny, each entry as 'module:qualname' or 'module:qualname called'."
    )


# ── objects ──────────────────────────────────────────────────────────────────


class NotSerialisableError(SealstoreError, TypeError):
    """The object cannot be pickled; nothing was stored."""

    code = "NOT_SERIALISABLE"


class ComponentClassError(NotSerialisableError):
    """The object uses a class that a hetida designer component defined."""

    code = "COMPONENT_CLASS"
    default_hint = (
        "move the class into an installed package; a class defined in a component exists only in"
        " the process that ran that component."
    )


class PayloadFormatError(SealstoreError):
    """A payload that does not decode as its format: truncated, malformed, or with trailing bytes.

    ``reason`` says why in a stable word; ``sealstore.formats.pickling.refusals`` lists them.
    """

    code = "PAYLOAD_FORMAT"
    reason: str = "malformed"


class UnsupportedPayloadError(PayloadFormatError):
    """A form of pickle or joblib file that sealstore refuses by name."""

    code = "UNSUPPORTED_PAYLOAD"


class LimitExceededError(PayloadFormatError):
    """A payload asks for more than one of the caps in ``sealstore.limits``."""

    code = "LIMIT_EXCEEDED"


class ObjectLoadError(SealstoreError):
    """The payload is the signed one, but making the object of it failed."""

    code = "OBJECT_LOAD"
    default_hint = (
        "install the packages and versions that 'sealstore show' lists for it; the cause is"
        " attached to this error."
    )


class EnvironmentMismatchError(SealstoreError):
    """Package versions differ from the signed ones, and ``strict_environment`` is set."""

    code = "ENVIRONMENT_MISMATCH"
    default_hint = "install the versions that 'sealstore show' lists, or store the object again."


class EnvironmentMismatchWarning(UserWarning):
    """Package versions differ in major or minor version from the signed ones."""


class PortabilityWarning(UserWarning):
    """The object will not load in another process: it uses names of ``__main__``."""


class RepairWarning(UserWarning):
    """Storing found damage and mended it, or left something for 'sealstore fsck' to see."""
