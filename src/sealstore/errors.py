"""One family of errors: each says what failed, for which artifact, and what to do.

No error carries payload bytes or other unverified bytes, and none ends the process. ``code`` is
stable: scripts, the ledger and hetida designer rely on it. What to do about an error stands in
``hints``, by its code, unless whoever raises it knows better. File paths stand apart from the text
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
        hint: what to do now; ``{path}`` stands for ``path``. By default what ``hints`` says.
        path: the file concerned.
    """

    code: ClassVar[str] = "SEALSTORE_ERROR"
    # hetida designer shows errors with this mark and an error_code in its results.
    __is_hetida_designer_exception__: ClassVar[bool] = True

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code

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
        self._hint = hint
        self.path = None if path is None else os.fspath(path)
        self._show_directories = True

    @property
    def hint(self) -> str:
        """What to do now; empty where there is nothing to say."""
        if self._hint is not None:
            return self._hint
        try:
            # Not before an error is shown: what goes well needs none of it.
            from sealstore.hints import hint_of
        except (ImportError, OSError):
            # No file can be opened any more, or the interpreter ends. What failed is still told.
            return ""
        return hint_of(each.code for each in type(self).__mro__ if issubclass(each, SealstoreError))

    @hint.setter
    def hint(self, hint: str) -> None:
        self._hint = hint

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
        hint = self.hint
        if hint:
            text = f"{text} To do: {hint.replace('{path}', shown_path)}"
        elif path:
            text = f"{text} ({shown_path})"
        return printable(text)


class UsageError(SealstoreError, ValueError, code="USAGE"):
    """A request that can never succeed as it was written."""


class InvalidNameError(UsageError, code="INVALID_NAME"):
    """A name, tag or alias breaks one of the rules of ``sealstore.names``."""


class ReservedTagError(InvalidNameError, code="RESERVED_TAG"):
    """The tag ``latest`` was used where something is stored."""


class InvalidMetadataError(UsageError, code="INVALID_METADATA"):
    """Metadata that JSON cannot carry exactly, or more than the limit."""


class UnsupportedMmapModeError(UsageError, code="UNSUPPORTED_MMAP_MODE"):
    """A ``mmap_mode`` that would write to the stored file."""


class UnknownFormatError(SealstoreError, code="UNKNOWN_FORMAT"):
    """No format of that name is installed."""


class MissingExtraError(SealstoreError, code="MISSING_EXTRA"):
    """An optional package is needed and absent."""


class ConfigurationError(SealstoreError, code="CONFIGURATION"):
    """An environment variable or a setting has a value that cannot be used."""


# ── the repository as a place ────────────────────────────────────────────────


class RepositoryNotFoundError(SealstoreError, code="REPOSITORY_NOT_FOUND"):
    """There is no repository at the given place."""


class RepositoryExistsError(SealstoreError, code="REPOSITORY_EXISTS"):
    """A repository, or other files, are already at the given place."""


class RepositoryLayoutError(SealstoreError, code="REPOSITORY_LAYOUT"):
    """``repository.json`` is missing, unreadable or of an unknown layout version."""


class RepositoryMismatchError(SealstoreError, code="REPOSITORY_MISMATCH"):
    """Another repository was expected here (MODEL_REPO_ID)."""


class SchemaVersionError(SealstoreError, code="SCHEMA_VERSION"):
    """The catalogue's schema is older or newer than this release's."""


class CatalogueError(SealstoreError, code="CATALOGUE"):
    """The catalogue's database cannot be used: locked, corrupt, out of reach, not writable."""


class CatalogueTamperedError(SealstoreError, code="CATALOGUE_TAMPERED"):
    """The catalogue contradicts a signed statement, or what it says cannot be proven."""


class AccessLogError(SealstoreError, code="ACCESS_LOG"):
    """The access log cannot be read or written; nothing is handed out that is not on record."""


class AccessLogNotFoundError(AccessLogError, code="ACCESS_LOG_NOT_FOUND"):
    """There is no access log where one is expected, or it has lost its head."""


class AccessLogExistsError(AccessLogError, code="ACCESS_LOG_EXISTS"):
    """An access log, or what is left of one, is where one was to be made."""


class KnownLocationError(SealstoreError, code="KNOWN_LOCATION"):
    """This client remembers a repository where a new one was to be begun."""


class StorageError(SealstoreError, code="STORAGE"):
    """The file system refused: disk full, read-only, permission denied."""


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what the file system raises into ``StorageError``: ``what`` says what cannot be done."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{what} ({error.strerror or type(error).__name__}).",
            hint="check free space, permissions and the mount of the repository.",
        ) from error


class ArtifactNotFound(SealstoreError, FileNotFoundError, code="ARTIFACT_NOT_FOUND"):
    """There is no such artifact in this repository."""


class AliasInTheWayError(SealstoreError, code="ALIAS_IN_THE_WAY"):
    """A tag and an alias cannot share a name."""


class ArtifactInUseError(SealstoreError, code="ARTIFACT_IN_USE"):
    """An alias means the artifact, so it cannot be removed."""


class RebuildRefusedError(SealstoreError, code="REBUILD_REFUSED"):
    """The catalogue cannot be rebuilt from what is there, or need not be."""


class BackupRefusedError(SealstoreError, code="BACKUP_REFUSED"):
    """A backup that cannot be made, or one that is not restored."""


class BundleRefusedError(SealstoreError, code="BUNDLE_REFUSED"):
    """A genuine bundle that cannot be made, or does not belong into this repository."""


class ImmutableTagError(SealstoreError, code="IMMUTABLE_TAG"):
    """The repository was created with immutable tags and this tag exists."""


# ── keys, and what a client remembers ────────────────────────────────────────


class KeyringError(SealstoreError, code="KEYRING"):
    """The keyring cannot be used."""


class KeyringNotFoundError(KeyringError, code="KEYRING_NOT_FOUND"):
    """There is no keyring where one is configured."""


class KeyringPermissionsError(KeyringError, code="KEYRING_PERMISSIONS"):
    """A key file that others can read or write, or that lies inside the repository."""


class KeyringFormatError(KeyringError, code="KEYRING_FORMAT"):
    """A key file that does not decode strictly, or holds a weak or duplicate key."""


class NoSigningKeyError(KeyringError, code="NO_SIGNING_KEY"):
    """No active key of the keyring may sign what is to be signed."""


class TrustStateError(SealstoreError, code="TRUST_STATE"):
    """What this client remembers of the repository cannot be read or written."""


class TrustStatePermissionsError(TrustStateError, code="TRUST_STATE_PERMISSIONS"):
    """A trust state that others can write, that is no regular file, or lies in the repository."""


class TrustStateFormatError(TrustStateError, code="TRUST_STATE_FORMAT"):
    """A trust state that does not decode strictly, or is that of another location."""


# ── verification: every one of these is a refusal ────────────────────────────


class VerificationError(SealstoreError, code="VERIFICATION"):
    """Base of the refusals: what was read is not what a trusted key signed."""


class EnvelopeFormatError(VerificationError, code="ENVELOPE_FORMAT"):
    """Bytes that are not one well-formed DSSE envelope with exactly one signature."""


class UnknownKeyError(VerificationError, code="UNKNOWN_KEY"):
    """The envelope names a key that the keyring does not hold: ``key_id``, where one was named."""

    key_id: str = ""


class RevokedKeyError(VerificationError, code="REVOKED_KEY"):
    """The envelope was signed with a key that has been revoked."""


class KeyRoleError(VerificationError, code="KEY_ROLE"):
    """The key lacks the role for what it signed, or is not for this repository."""


class SignatureInvalidError(VerificationError, code="SIGNATURE_INVALID"):
    """The signature does not fit the bytes."""


class ApprovalFormatError(VerificationError, code="APPROVAL_FORMAT"):
    """An approval, or a request for one, that does not decode strictly."""


class ApprovalMismatchError(VerificationError, code="APPROVAL_MISMATCH"):
    """A genuine approval, but of another move than the one that is to be made."""


class NotApprovedError(VerificationError, code="NOT_APPROVED"):
    """A protected alias, and fewer valid approvals than its moves need."""


class StatementFormatError(VerificationError, code="STATEMENT_FORMAT"):
    """A statement that does not decode strictly."""


class IdentityMismatchError(VerificationError, code="IDENTITY_MISMATCH"):
    """A genuine statement, but of another artifact or another repository."""


class RetiredKeyError(VerificationError, code="RETIRED_KEY"):
    """Something new was signed with a retired key, which verifies only what history holds."""


class LedgerFormatError(VerificationError, code="LEDGER_FORMAT"):
    """A head, an entry, a checkpoint or a value of the map that does not decode strictly."""


class LedgerTamperedError(VerificationError, code="LEDGER_TAMPERED"):
    """The ledger contradicts its signed head: entries were changed, removed, added or moved."""


class ProofError(LedgerTamperedError, code="PROOF"):
    """A proof that does not lead from what it should prove to the signed root."""


class RollbackError(VerificationError, code="ROLLBACK"):
    """The repository is older than one that was seen before in its place."""


class RepositoryExchangedError(VerificationError, code="REPOSITORY_EXCHANGED"):
    """Another repository, or a rebuilt one, is where a known one was."""


class FirstUseError(VerificationError, code="FIRST_USE"):
    """Nothing is remembered of this repository, and MODEL_REPO_FIRST_USE=refuse is set."""


class StaleHeadError(VerificationError, code="HEAD_STALE"):
    """The repository's head is older than MODEL_REPO_MAX_AGE allows: it may have been frozen."""


class ClockError(VerificationError, code="CLOCK"):
    """This machine's clock is behind a time that was seen before, so no age can be judged."""


class PayloadMissingError(VerificationError, code="PAYLOAD_MISSING"):
    """The payload that the statement vouches for is not in the repository."""


class PayloadFileError(VerificationError, code="PAYLOAD_FILE"):
    """What lies in the payload's place is not a regular file."""


class PayloadSizeError(VerificationError, code="PAYLOAD_SIZE"):
    """The payload has another size than the statement says."""


class PayloadDigestError(VerificationError, code="PAYLOAD_DIGEST"):
    """The payload's digest is not the one that was signed."""


class BundleFormatError(VerificationError, code="BUNDLE_FORMAT"):
    """A file that is not one bundle, or one that was damaged."""


class UnsignedImportError(VerificationError, code="UNSIGNED_IMPORT"):
    """The payload asked for an import that its signed statement does not list."""


# ── the policy, and objects ──────────────────────────────────────────────────


class PolicyError(SealstoreError, code="POLICY"):
    """The policy refuses imports of the payload; nothing of it was loaded."""


class PolicyFileError(ConfigurationError, code="POLICY_FILE"):
    """A policy that does not decode strictly."""


class NotSerialisableError(SealstoreError, TypeError, code="NOT_SERIALISABLE"):
    """The object cannot be pickled; nothing was stored."""


class ComponentClassError(NotSerialisableError, code="COMPONENT_CLASS"):
    """The object uses a class that a hetida designer component defined."""


class PayloadFormatError(SealstoreError, code="PAYLOAD_FORMAT"):
    """A payload that does not decode as its format: truncated, malformed, or with trailing bytes.

    ``reason`` says why in a stable word; ``sealstore.formats.pickling.refusals`` lists them.
    """

    reason: str = "malformed"


class UnsupportedPayloadError(PayloadFormatError, code="UNSUPPORTED_PAYLOAD"):
    """A form of pickle or joblib file that sealstore refuses by name."""


class LimitExceededError(PayloadFormatError, code="LIMIT_EXCEEDED"):
    """A payload asks for more than one of the caps in ``sealstore.limits``."""


class ObjectLoadError(SealstoreError, code="OBJECT_LOAD"):
    """The payload is the signed one, but making the object of it failed."""


class EnvironmentMismatchError(SealstoreError, code="ENVIRONMENT_MISMATCH"):
    """Package versions differ from the signed ones, and ``strict_environment`` is set."""


class EnvironmentMismatchWarning(UserWarning):
    """Package versions differ in major or minor version from the signed ones."""


class PortabilityWarning(UserWarning):
    """The object will not load in another process: it uses names of ``__main__``."""


class RepairWarning(UserWarning):
    """Storing found damage and mended it, or left something for 'sealstore fsck' to see."""
