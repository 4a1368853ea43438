"""The repository: the flows of storing and loading, as docs/design.md lays them out.

Here the parts are called in their order; what decides stands in ``verification``, what does I/O in
``blobs``, ``catalogue`` and ``layout``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from sealstore import environment, layout, limits
from sealstore.artifact import Artifact, Page, Refused
from sealstore.assembly import KeySource, key_source, make_parts, open_catalogue
from sealstore.blobs import BlobStore, CommitOutcome, LocalBlobStore, VerifiedPayload
from sealstore.catalogue import (
    ArtifactRow,
    Catalogue,
    HistoryRow,
    ListFilter,
    require_current_schema,
)
from sealstore.envelope import (
    STATEMENT_PAYLOAD_TYPE,
    Signer,
    VerifiedStatement,
    open_statement,
    read_unverified,
    seal,
    seal_statement,
)
from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    EnvironmentMismatchError,
    EnvironmentMismatchWarning,
    ImmutableTagError,
    InvalidNameError,
    RepairWarning,
    RepositoryMismatchError,
    SealstoreError,
    StorageError,
    UnsupportedMmapModeError,
)
from sealstore.formats import JoblibFormat, format_named
from sealstore.keys import Keyring, Role
from sealstore.layout import RepositorySettings
from sealstore.names import ArtifactRef, Name, Tag, request
from sealstore.settings import Settings
from sealstore.statement import Digests, Predicate, Statement, checked_metadata, make_statement
from sealstore.verification import verify_statement

MmapMode = Literal["r", "c"]


class Repository:
    """A signed repository of Python objects. ``create`` or ``open`` makes one.

    Safe to use from several threads and processes, and after a fork.
    """

    def __init__(
        self,
        root: Path,
        *,
        settings: Settings,
        identity: RepositorySettings,
        keys: KeySource,
        blobs: BlobStore,
        catalogue: Catalogue,
    ) -> None:
        self.root = root
        self.settings = settings
        self._identity = identity
        self._keys = keys
        self._blobs = blobs
        self._catalogue = catalogue

    # ── making and opening ───────────────────────────────────────────────────

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        keyring: Keyring | None = None,
        immutable_tags: bool = False,
        repository_id: str | None = None,
        settings: Settings | None = None,
    ) -> Self:
        """Make a repository in an absent or empty folder, and open it.

        Args:
            path: the folder.
            keyring: keys, one of them active with the role admin for this repository or for every
                one; the configured keys by default.
            immutable_tags: whether storing a (name, tag) a second time is refused.
            repository_id: 32 hexadecimal digits, where a key was made for it beforehand; random by
                default.
            settings: the configuration; the environment's by default.

        Raises:
            UsageError: ``repository_id`` is none.
            RepositoryMismatchError: ``MODEL_REPO_ID`` asks for another one; nothing was written.
            NoSigningKeyError, KeyringError: no key may sign the settings; nothing was written.
            RepositoryExistsError: the folder is not empty.
            StorageError, CatalogueError: the folder or the database cannot be written.
        """
        root = Path(path).absolute()
        settings = settings or Settings.from_environment()
        if repository_id is not None:
            layout.require_repository_id(repository_id)
        keys = key_source(settings, root, keyring)
        signer = keys.current().signer(Role.ADMIN, repository_id)
        if settings.repository_id not in (None, repository_id):
            raise RepositoryMismatchError(
                "MODEL_REPO_ID asks for a repository that exists already.",
                hint="unset MODEL_REPO_ID to make a new repository.",
            )
        identity = RepositorySettings(
            layout=1,
            repository=repository_id or layout.new_repository_id(),
            version=1,
            created=environment.now(),
            immutable_tags=immutable_tags,
        )
        with layout.exclusive_empty_folder(root):
            make_parts(root, settings, identity, signer)
        return cls.open(root, keyring=keyring, settings=settings)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        keyring: Keyring | None = None,
        settings: Settings | None = None,
    ) -> Self:
        """Open an existing repository.

        Args:
            path: its folder; ``MODEL_REPO_PATH`` by default.
            keyring: the keys; the configured ones by default.
            settings: the configuration; the environment's by default.

        Raises:
            RepositoryNotFoundError: there is none.
            RepositoryMismatchError: it is another one than ``MODEL_REPO_ID`` asks for.
            VerificationError: its settings are not signed by an admin key of the keyring.
            SchemaVersionError: its catalogue is older or newer than this release.
            KeyringError, ConfigurationError, CatalogueError: the parts cannot be used.
        """
        settings = settings or Settings.from_environment()
        root = (settings.path if path is None else Path(path)).absolute()
        keys = key_source(settings, root, keyring)
        # Before the keys: where there is no repository, that is what to say.
        data = layout.read_settings_file(root)
        identity = layout.open_settings(data, keys.current())
        if settings.repository_id not in (None, identity.repository):
            raise RepositoryMismatchError(
                f"This is repository {identity.repository}, and MODEL_REPO_ID asks for another.",
                path=root,
                hint="check what is mounted at {path}.",
            )
        catalogue = open_catalogue(root, settings)
        require_current_schema(catalogue.engine)
        return cls(
            root,
            settings=settings,
            identity=identity,
            keys=keys,
            blobs=LocalBlobStore(root),
            catalogue=catalogue,
        )

    def close(self) -> None:
        """Close the database's connections. The repository can be used again afterwards."""
        self._catalogue.engine.dispose()
        self._blobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """The repository's id, 32 hexadecimal digits."""
        return self._identity.repository

    @property
    def immutable_tags(self) -> bool:
        """Whether storing a (name, tag) again is refused."""
        return self._identity.immutable_tags

    @property
    def keyring(self) -> Keyring:
        """The keys as they are now."""
        return self._keys.current()

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue: unverified; for maintenance."""
        return self._catalogue

    @property
    def blobs(self) -> BlobStore:
        """The payloads; for maintenance."""
        return self._blobs

    # ── storing ──────────────────────────────────────────────────────────────

    def store(
        self,
        obj: object,
        name: str,
        tag: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        compress: Any = 0,
        actor: str | None = None,
    ) -> Artifact:
        """Store an object. When this returns, it survives a crash and power loss.

        Args:
            obj: anything that can be pickled.
            name, tag: under what; storing a (name, tag) again makes its next revision.
            metadata: a JSON object of at most 64 KiB, kept with the object and signed.
            compress: as ``joblib.dump`` takes it; 0 loads fastest.
            actor: who the caller says it is, such as a job's id.

        Returns:
            What was stored.

        Raises:
            InvalidNameError, InvalidMetadataError: the request is impossible.
            NoSigningKeyError: no active key may store here; nothing was written.
            NotSerialisableError: the object cannot be pickled.
            ImmutableTagError: the tag exists and tags are immutable.
            StorageError, CatalogueError: disk or database refused. Nothing that was there changed.
        """
        # 1
        ref = ArtifactRef(Name(name), Tag.to_store(tag))
        checked = checked_metadata(dict(metadata) if isinstance(metadata, Mapping) else metadata)
        who = environment.stored_by(actor)
        signer = self.keyring.signer(Role.STORE, self.id)
        with _about(ref):
            self._refuse_second(ref)
            format_ = JoblibFormat()
            with self._blobs.stage() as staged:
                # 2
                format_.dump(obj, staged, compress=compress)
                # 3
                imports = format_.imports(staged.view())
                modules = {entry.name.partition(":")[0] for entry in imports}
                environment.refuse_unportable(modules)
                digests, size = staged.finish()
                # 4
                outcome = staged.commit()
            draft = Predicate(
                repository=self.id,
                name=str(ref.name),
                tag=str(ref.tag),
                revision=1,
                sequence=1,
                format=format_.name,
                size=size,
                created=environment.now(),
                stored_by=who,
                python=environment.python_version(),
                packages=environment.packages_of(modules),
                imports=imports,
                metadata=checked,
            )
            # 5
            verified, envelope = self._record(draft, digests, signer)
            artifact = Artifact(verified)
            if outcome is CommitOutcome.MENDED:
                _warn(f"{artifact.ref}: wrong bytes lay in the payload's place; moved aside.")
            # 6
            self._mirror(artifact.ref, envelope)
        return artifact

    def _record(
        self, draft: Predicate, digests: Digests, signer: Signer
    ) -> tuple[VerifiedStatement, bytes]:
        with self.catalogue.write() as transaction:
            revision = transaction.next_revision(draft.name, draft.tag)
            if self.immutable_tags and transaction.revisions(draft.name, draft.tag):
                raise _immutable()
            predicate = msgspec.structs.replace(
                draft, revision=revision, sequence=transaction.next_sequence()
            )
            envelope = seal_statement(make_statement(predicate, digests), signer)
            # What was signed is opened as a load would open it: nothing else is put on record.
            verified = open_statement(envelope, self.keyring)
            row = ArtifactRow.of(verified, envelope)
            transaction.insert_artifact(row)
            transaction.append_history(_entry("store", row, row.sequence, row.actor))
        return verified, envelope

    def _refuse_second(self, ref: ArtifactRef) -> None:
        # Before the work of serialising; what decides is the check inside the transaction.
        if self.immutable_tags and self.catalogue.find(ref) is not None:
            raise _immutable()

    def _mirror(self, ref: ArtifactRef, envelope: bytes, *, replace: bool = False) -> None:
        try:
            if layout.write_mirror(self.root, ref, envelope, replace=replace):
                _warn(f"{ref}: another file lay in the statement's place; moved aside.")
        except StorageError as error:
            # The artifact is stored; only its mirror, which no load reads, is missing.
            _warn(f"{ref}: {error.message}")

    # ── loading ──────────────────────────────────────────────────────────────

    def load(
        self,
        name: str,
        tag: str = "latest",
        *,
        revision: int | None = None,
        mmap_mode: MmapMode | None = None,
    ) -> Any:
        """Load an object, verified before a single byte of it is unpickled.

        Args:
            name, tag: which; ``latest`` is what was stored last under the name.
            revision: which revision of the tag; the newest by default.
            mmap_mode: ``r`` (read-only) or ``c`` (copy-on-write): large arrays are ``numpy.memmap``
                views, whose ``filename`` is None, of memory that is sealed against every process.

        Returns:
            The object.

        Raises:
            InvalidNameError, UnsupportedMmapModeError: the request is impossible.
            ArtifactNotFound: there is no such artifact.
            VerificationError, CatalogueTamperedError: it was refused; nothing of it was run.
            EnvironmentMismatchError: other package versions, and ``MODEL_REPO_STRICT_ENVIRONMENT``.
            ObjectLoadError, PayloadFormatError: the signed payload does not become an object here.
            CatalogueError, StorageError: database or disk failed.
        """
        if mmap_mode not in (None, "r", "c"):
            raise UnsupportedMmapModeError(
                "mmap_mode is 'r' or 'c'; the modes that write to the stored file are refused.",
                hint="load with mmap_mode='c' to change the array in memory only.",
            )
        # 1
        ref = request(name, tag, revision)
        with _about(ref):
            # 2, 5
            _, verified = self._find_verified(ref)
            predicate = verified.statement.predicate
            self._check_environment(verified.statement)
            # 7
            payload = self._read(verified.statement, sealed=mmap_mode is not None)
            # 9
            return format_named(predicate.format).load(
                payload, imports=predicate.imports, mmap_mode=mmap_mode
            )

    def get(self, name: str, tag: str = "latest", *, revision: int | None = None) -> Artifact:
        """The verified statement of an artifact, without its object.

        Raises:
            As ``load``, up to the payload.
        """
        ref = request(name, tag, revision)
        with _about(ref):
            return Artifact(self._find_verified(ref)[1])

    def verify(self, name: str, tag: str = "latest", *, revision: int | None = None) -> Artifact:
        """Verify an artifact and both digests of its payload; nothing is unpickled.

        Raises:
            As ``load``.
        """
        ref = request(name, tag, revision)
        with _about(ref):
            _, verified = self._find_verified(ref)
            self._blobs.check(verified.statement.digests, verified.statement.predicate.size)
            return Artifact(verified)

    def read_payload(
        self, name: str, tag: str = "latest", *, revision: int | None = None
    ) -> tuple[Artifact, memoryview]:
        """The verified payload's bytes, to be exported.

        Raises:
            As ``load``.
        """
        ref = request(name, tag, revision)
        with _about(ref):
            _, verified = self._find_verified(ref)
            return Artifact(verified), self._read(verified.statement).view

    def verify_row(self, row: ArtifactRow) -> Artifact:
        """The artifact of a row of the catalogue, if its statement is genuine and says the same.

        Raises:
            VerificationError, CatalogueTamperedError: it is refused.
        """
        return Artifact(self._verified(row, _ref_of(row)))

    def _find_verified(self, ref: ArtifactRef) -> tuple[ArtifactRow, VerifiedStatement]:
        row = self.catalogue.find(ref)
        if row is None:
            raise ArtifactNotFound("There is no such artifact in this repository.")
        return row, self._verified(row, ref)

    def _verified(self, row: ArtifactRow, ref: ArtifactRef) -> VerifiedStatement:
        envelope = row.envelope if isinstance(row.envelope, bytes) else b""
        return verify_statement(
            envelope,
            request=ref,
            repository=self.id,
            verifier=self.keyring,
            row_differences=lambda verified: row.differences(ArtifactRow.of(verified, envelope)),
        )

    def _read(self, statement: Statement, *, sealed: bool = False) -> VerifiedPayload:
        return self._blobs.read(
            statement.digests, statement.predicate.size, check=self.settings.digest, sealed=sealed
        )

    def _check_environment(self, statement: Statement) -> None:
        predicate = statement.predicate
        differences = environment.version_differences(predicate.python, predicate.packages)
        if not differences:
            return
        text = f"{'; '.join(differences)}."
        if self.settings.strict_environment:
            raise EnvironmentMismatchError(f"The environment is another one: {text}")
        warnings.warn(f"{statement.ref}: {text}", EnvironmentMismatchWarning, stacklevel=3)

    # ── looking around ───────────────────────────────────────────────────────

    def list(
        self,
        conditions: ListFilter | None = None,
        *,
        limit: int = 100,
        after: int | None = None,
        **equal: Any,
    ) -> Page:
        """One page of the artifacts, each verified, the ones stored last first.

        Args:
            conditions: which ones; or the fields of ``ListFilter`` as keyword arguments.
            limit: rows of the page, up to ``limits.MAX_LIST_ROWS``.
            after: the ``next_cursor`` of the page before.

        Raises:
            CatalogueError: the database failed.
        """
        wanted = replace(conditions or ListFilter(), **equal)
        rows = self.catalogue.list_rows(wanted, limit=limit, before_sequence=after)
        is_full = bool(rows) and len(rows) >= min(limit, limits.MAX_LIST_ROWS)
        page = Page([], [], rows[-1].sequence if is_full else None)
        for row in rows:
            try:
                page.artifacts.append(self.verify_row(row))
            except SealstoreError as error:
                page.refused.append(Refused(row, error))
        return page

    def history(
        self,
        name: str | None = None,
        tag: str | None = None,
        *,
        limit: int = 100,
        after: int | None = None,
    ) -> tuple[HistoryRow, ...]:
        """What changed the repository, the newest first. Not proven against tampering yet.

        Args:
            name, tag: only entries about these.
            limit: entries of the page.
            after: the sequence of the last entry of the page before.

        Raises:
            CatalogueError: the database failed.
        """
        return tuple(
            self.catalogue.history_rows(name=name, tag=tag, limit=limit, before_sequence=after)
        )

    # ── changing what is there ───────────────────────────────────────────────

    def remove(
        self, name: str, tag: str, *, revision: int | None = None, actor: str | None = None
    ) -> tuple[ArtifactRef, ...]:
        """Take one revision of a tag, or all of them, out of the repository.

        The revisions' numbers are never given out again. The payloads' bytes stay until they are
        collected, since other artifacts may share them.

        Returns:
            What was removed.

        Raises:
            ArtifactNotFound: there is nothing to remove.
            NoSigningKeyError: no active key may change this repository.
            CatalogueTamperedError: a row is none that was ever stored; nothing changed.
            CatalogueError: the database refused; nothing changed.
        """
        ref = request(name, Tag.to_store(tag), revision)
        self.keyring.signer(Role.STORE, self.id)
        who = environment.stored_by(actor)
        with _about(ref), self.catalogue.write() as transaction:
            rows = [
                row
                for row in transaction.revisions(ref.name, ref.tag)
                if revision in (None, row.revision)
            ]
            if not rows:
                raise ArtifactNotFound("There is no such artifact in this repository.")
            removed = tuple(map(_ref_of, rows))
            for row in rows:
                transaction.delete_artifact(row.sequence)
                sequence = transaction.next_sequence()
                transaction.append_history(_entry("remove", row, sequence, who.actor or who.user))
        return removed

    def resign(self, ref: ArtifactRef, *, actor: str | None = None) -> Artifact:
        """Give an artifact a signature of today's key; statement and payload stay as they are.

        Args:
            ref: which, with its revision.
            actor: who the caller says it is.

        Raises:
            ArtifactNotFound: there is no such artifact.
            VerificationError, CatalogueTamperedError: its present signature is refused, as one of a
                revoked key always is.
            NoSigningKeyError: no active key may sign here.
            CatalogueError: the database refused; nothing changed.
        """
        signer = self.keyring.signer(Role.STORE, self.id)
        who = environment.stored_by(actor)
        with _about(ref):
            with self.catalogue.write() as transaction:
                row = transaction.find(ref)
                if row is None:
                    raise ArtifactNotFound("There is no such artifact in this repository.")
                verified = self._verified(row, ref)
                if verified.key_id == signer.key_id:
                    return Artifact(verified)
                signed_bytes = read_unverified(row.envelope).payload
                envelope = seal(STATEMENT_PAYLOAD_TYPE, signed_bytes, signer)
                verified = open_statement(envelope, self.keyring)
                signed = ArtifactRow.of(verified, envelope)
                transaction.replace_envelope(signed)
                transaction.append_history(
                    _entry("resign", signed, transaction.next_sequence(), who.actor or who.user)
                )
            self._mirror(verified.statement.ref, envelope, replace=True)
        return Artifact(verified)


def _entry(event: str, row: ArtifactRow, sequence: int, actor: str) -> HistoryRow:
    return HistoryRow(
        sequence=sequence,
        event=event,
        at=environment.now(),
        actor=actor,
        name=row.name,
        tag=row.tag,
        revision=row.revision,
        sha256=row.sha256,
        statement_digest=row.statement_digest,
        key_id=row.key_id,
    )


def _ref_of(row: ArtifactRow) -> ArtifactRef:
    try:
        return request(row.name, row.tag, row.revision)
    except InvalidNameError as error:
        raise CatalogueTamperedError("The catalogue's row names no artifact.") from error


def _immutable() -> ImmutableTagError:
    return ImmutableTagError("The tag is stored already, and this repository's tags do not change.")


@contextmanager
def _about(ref: ArtifactRef) -> Iterator[None]:
    """Let every refusal name the artifact that it is about."""
    try:
        yield
    except SealstoreError as error:
        error.for_artifact(ref)
        raise


def _warn(text: str) -> None:
    warnings.warn(text, RepairWarning, stacklevel=4)
