"""The repository: storing, loading and looking around, as one object.

The two flows stand in ``storing`` and ``loading``; here is what a user calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from sealstore.errors import UnsupportedMmapModeError
from sealstore.formats.policies import Policies
from sealstore.keys.keyring import Keyring
from sealstore.names import request
from sealstore.repository import loading, proving
from sealstore.repository.access_log.log import AccessLog
from sealstore.repository.artifact import Artifact
from sealstore.repository.assembly import Parts, open_parts
from sealstore.repository.changes import Changes
from sealstore.repository.loading import MmapMode, about
from sealstore.repository.recorded_access import access
from sealstore.repository.settings import Settings
from sealstore.repository.state import RepositoryState
from sealstore.signed.statement import Import

if TYPE_CHECKING:
    from sealstore.ledger.history import HistoryEntry
    from sealstore.repository.listing import Page
    from sealstore.repository.origins import KeptOrigin
    from sealstore.storage.blobs.contract import BlobStore
    from sealstore.storage.catalogue import ArtifactRow, Catalogue
    from sealstore.storage.catalogue.listing import ListFilter


class Repository(Changes):
    """A signed repository of Python objects. ``create`` or ``open`` makes one.

    ::

        with Repository.open() as repository:
            repository.store(model, "churn", "2026-11", metadata={"auc": 0.91})
            model = repository.load("churn")

    Safe to use from several threads and processes, and after a fork.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

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
            keyring: keys, of which active ones have the roles admin and store for this repository
                or for every one; the configured keys by default.
            immutable_tags: whether storing a (name, tag) a second time is refused.
            repository_id: 32 hexadecimal digits, where a key was made for it beforehand; random by
                default.
            settings: the configuration; the environment's by default.

        Raises:
            UsageError: ``repository_id`` is invalid.
            RepositoryMismatchError: ``MODEL_REPO_ID`` asks for a different one; nothing is written.
            NoSigningKeyError, KeyringError: no key may sign here; nothing was written.
            KnownLocationError: this client remembers a repository there; nothing was written.
            RepositoryExistsError: the folder is not empty.
            StorageError, CatalogueError: the folder or the database cannot be written.
        """
        from sealstore.repository import creating

        root = Path(path).absolute()
        settings = settings or Settings.from_environment()
        creating.create(
            root, settings, keyring, immutable_tags=immutable_tags, repository_id=repository_id
        )
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
            RepositoryMismatchError: it is a different one than ``MODEL_REPO_ID`` asks for.
            VerificationError: its head or its settings are refused: not signed by a fitting key of
                the keyring, or older than what was seen before.
            SchemaVersionError: its catalogue is older or newer than this release.
            KeyringError, ConfigurationError, CatalogueError: the parts cannot be used.
        """
        settings = settings or Settings.from_environment()
        root = (settings.path if path is None else Path(path)).absolute()
        return cls(open_parts(root, settings, keyring))

    def close(self) -> None:
        """Close the databases' connections. The repository can be used again afterwards."""
        self._parts.access.close()
        self._parts.catalogue.engine.dispose()
        self._parts.blobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """The repository's id, 32 hexadecimal digits."""
        return self._parts.id

    @property
    def root(self) -> Path:
        """The repository's folder."""
        return self._parts.root

    @property
    def settings(self) -> Settings:
        """What is configured."""
        return self._parts.settings

    @property
    def immutable_tags(self) -> bool:
        """Whether storing a (name, tag) again is refused."""
        return self._parts.state.known().document.immutable_tags

    @property
    def state(self) -> RepositoryState:
        """What the newest head that was verified here vouches for."""
        return self._parts.state.known()

    @property
    def keyring(self) -> Keyring:
        """The keys as they are now, less those that the repository's settings revoke."""
        return self._parts.keyring

    @property
    def policies(self) -> Policies:
        """What payloads may import."""
        return self._parts.state.known().policies

    @property
    def parts(self) -> Parts:
        """What the repository consists of; for maintenance."""
        return self._parts

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue: unverified; for maintenance."""
        return self._parts.catalogue

    @property
    def access_log(self) -> AccessLog:
        """What was loaded, verified, exported and inspected."""
        return self._parts.access

    @property
    def blobs(self) -> BlobStore:
        """The payloads; for maintenance."""
        return self._parts.blobs

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
            PolicyError: loading it would import what the policy refuses.
            ImmutableTagError: the tag exists and tags are immutable.
            StorageError, CatalogueError: disk or database refused. Nothing that was there changed.
        """
        from sealstore.repository import storing

        wanted = storing.StoreRequest.checked(self._parts, name, tag, metadata, actor)
        return storing.store_object(self._parts, wanted, obj, compress)

    def store_payload(
        self,
        payload: memoryview,
        name: str,
        tag: str,
        *,
        imports: tuple[Import, ...] | None = None,
        metadata: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> Artifact:
        """Store bytes that joblib or pickle wrote, as they are, without ever loading them.

        Args:
            payload: the bytes, in memory that nobody else can change.
            name, tag, metadata, actor: as for ``store``.
            imports: what an inspection of these very bytes, made elsewhere, has listed; by default
                they are inspected here.

        Raises:
            PayloadFormatError: the bytes are no payload, or one of a refused form.
            Otherwise as ``store``.
        """
        from sealstore.repository import storing

        wanted = storing.StoreRequest.checked(self._parts, name, tag, metadata, actor)
        return storing.store_payload(self._parts, wanted, payload, imports)

    # ── loading ──────────────────────────────────────────────────────────────

    def load(
        self,
        name: str,
        tag: str = "latest",
        *,
        revision: int | None = None,
        mmap_mode: MmapMode | None = None,
        actor: str | None = None,
        context: str | None = None,
    ) -> Any:
        """Load an object, verified before a single byte of it is unpickled.

        Args:
            name, tag: which; ``latest`` is what was stored last under the name.
            revision: which revision of the tag; the newest by default.
            mmap_mode: ``r`` (read-only) or ``c`` (copy-on-write): large arrays are ``numpy.memmap``
                views, whose ``filename`` is None, of memory that is sealed against every process.
            actor, context: who the caller says it is, and on what occasion, such as a job's id:
                both are put on record with the access.

        Returns:
            The object.

        Raises:
            InvalidNameError, UnsupportedMmapModeError: the request is impossible.
            ArtifactNotFound: there is no such artifact.
            VerificationError, CatalogueTamperedError: it was refused; nothing of it was run.
            PolicyError: it imports what the policy refuses.
            EnvironmentMismatchError: other package versions, and ``MODEL_REPO_STRICT_ENVIRONMENT``.
            ObjectLoadError, PayloadFormatError: the signed payload does not become an object here.
            CatalogueError, StorageError: database or disk failed.
            AccessLogError: the load could not be put on record.
        """
        if mmap_mode not in (None, "r", "c"):
            raise UnsupportedMmapModeError(
                "mmap_mode is 'r' or 'c'; the modes that write to the stored file are refused.",
                hint="load with mmap_mode='c' to change the array in memory only.",
            )
        # step 1: the request is possible
        ref = request(name, tag, revision)
        with about(ref), access(self._parts, "load", ref, actor=actor, context=context) as made:
            return loading.load_object(self._parts, ref, made, mmap_mode)

    def get(self, name: str, tag: str = "latest", *, revision: int | None = None) -> Artifact:
        """The verified statement of an artifact, without its object.

        Raises:
            As ``load``, up to the payload.
        """
        ref = request(name, tag, revision)
        with about(ref):
            return proving.find(self._parts, ref).artifact

    def origin(
        self, name: str, tag: str = "latest", *, revision: int | None = None
    ) -> KeptOrigin | None:
        """Where an imported artifact comes from, by the proven history; None if stored here first.

        Raises:
            LedgerTamperedError, CatalogueTamperedError: what is on record of it was changed.
            Otherwise as ``load``, up to the payload.
        """
        from sealstore.repository import origins

        ref = request(name, tag, revision)
        with about(ref):
            return origins.kept_origin(self._parts, proving.find(self._parts, ref))

    def verify(
        self,
        name: str,
        tag: str = "latest",
        *,
        revision: int | None = None,
        actor: str | None = None,
        context: str | None = None,
    ) -> Artifact:
        """Verify an artifact and both digests of its payload; nothing is unpickled.

        Raises:
            As ``load``.
        """
        from sealstore.repository import payloads

        ref = request(name, tag, revision)
        with about(ref), access(self._parts, "verify", ref, actor=actor, context=context) as made:
            return payloads.verify_payload(self._parts, ref, made)

    def read_payload(
        self,
        name: str,
        tag: str = "latest",
        *,
        revision: int | None = None,
        act: Literal["export", "inspect"] = "export",
        actor: str | None = None,
        context: str | None = None,
    ) -> tuple[Artifact, memoryview]:
        """The verified payload's bytes, to be exported or inspected.

        Raises:
            As ``load``.
        """
        from sealstore.repository import payloads

        ref = request(name, tag, revision)
        with about(ref), access(self._parts, act, ref, actor=actor, context=context) as made:
            return payloads.export_payload(self._parts, ref, made)

    def verify_row(self, row: ArtifactRow) -> Artifact:
        """The artifact of a row of the catalogue, if the signed head vouches for it.

        Raises:
            ArtifactNotFound: it was removed since the row was read.
            VerificationError, CatalogueTamperedError: it is refused.
        """
        from sealstore.repository import listing

        return listing.verify_row(self._parts, row).artifact

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
        from sealstore.repository import listing
        from sealstore.storage.catalogue.listing import ListFilter

        wanted = replace(conditions or ListFilter(), **equal)
        return listing.list_page(self._parts, wanted, limit=limit, after=after)

    def history(
        self,
        name: str | None = None,
        tag: str | None = None,
        *,
        limit: int = 100,
        after: int | None = None,
    ) -> tuple[HistoryEntry, ...]:
        """What changed the repository, the newest first; each entry is proven against the head.

        That none is missing is proven too, where no name is given; for a whole history,
        ``sealstore audit verify`` does it.

        Args:
            name, tag: only entries about these.
            limit: entries of the page.
            after: the sequence of the last entry of the page before.

        Raises:
            LedgerTamperedError: an entry is missing, or a different one.
            CatalogueError: the database failed.
        """
        from sealstore.repository import listing

        return listing.history_page(self._parts, name, tag, limit=limit, after=after)
