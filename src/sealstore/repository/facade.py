"""The repository: storing, loading and looking around, as one object.

The two flows stand in ``storing`` and ``loading``; here is what a user calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from sealstore.errors import UnsupportedMmapModeError
from sealstore.formats.policies import Policies
from sealstore.keys import Keyring
from sealstore.ledger import HistoryEntry
from sealstore.names import ArtifactRef, Name, Tag, request
from sealstore.repository import (
    aliasing,
    creating,
    environment,
    loading,
    origins,
    proving,
    removing,
    storing,
)
from sealstore.repository.access_log import AccessLog
from sealstore.repository.aliasing import Alias, Wanted
from sealstore.repository.artifact import Artifact, Page
from sealstore.repository.assembly import Parts, open_parts
from sealstore.repository.loading import MmapMode, about
from sealstore.repository.origins import KeptOrigin
from sealstore.repository.recorded_access import access
from sealstore.repository.recording import change_settings, record_key_change, renew_heads
from sealstore.repository.settings import Settings
from sealstore.repository.state import RepositoryState
from sealstore.repository.storing import StoreRequest
from sealstore.signed.approval import AliasMove
from sealstore.signed.settings import RepositorySettings
from sealstore.signed.statement import Import
from sealstore.storage.blobs import BlobStore
from sealstore.storage.catalogue import ArtifactRow, Catalogue, ListFilter


class Repository:
    """A signed repository of Python objects. ``create`` or ``open`` makes one.

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
            UsageError: ``repository_id`` is none.
            RepositoryMismatchError: ``MODEL_REPO_ID`` asks for another one; nothing was written.
            NoSigningKeyError, KeyringError: no key may sign here; nothing was written.
            KnownLocationError: this client remembers a repository there; nothing was written.
            RepositoryExistsError: the folder is not empty.
            StorageError, CatalogueError: the folder or the database cannot be written.
        """
        root = Path(path).absolute()
        settings = settings or Settings.from_environment()
        creating.create(
            root,
            settings,
            keyring,
            immutable_tags=immutable_tags,
            repository_id=repository_id,
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
            RepositoryMismatchError: it is another one than ``MODEL_REPO_ID`` asks for.
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
        wanted = StoreRequest.checked(self._parts, name, tag, metadata, actor)
        with about(wanted.ref):
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
        wanted = StoreRequest.checked(self._parts, name, tag, metadata, actor)
        with about(wanted.ref):
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
        # 1
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
        """Where an imported artifact comes from, as the proven history has it; None if it is none.

        Raises:
            LedgerTamperedError, CatalogueTamperedError: what is on record of it was changed.
            Otherwise as ``load``, up to the payload.
        """
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
        ref = request(name, tag, revision)
        with about(ref), access(self._parts, "verify", ref, actor=actor, context=context) as made:
            return loading.verify_payload(self._parts, ref, made)

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
        ref = request(name, tag, revision)
        with about(ref), access(self._parts, act, ref, actor=actor, context=context) as made:
            return loading.export_payload(self._parts, ref, made)

    def verify_row(self, row: ArtifactRow) -> Artifact:
        """The artifact of a row of the catalogue, if the signed head vouches for it.

        Raises:
            ArtifactNotFound: it was removed since the row was read.
            VerificationError, CatalogueTamperedError: it is refused.
        """
        return proving.verify_row(self._parts, row).artifact

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
        return loading.list_page(self._parts, wanted, limit=limit, after=after)

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
            LedgerTamperedError: an entry is missing, or another one.
            CatalogueError: the database failed.
        """
        return proving.history_page(self._parts, name, tag, limit=limit, after=after)

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
            ArtifactInUseError: an alias means it; nothing was removed.
            NoSigningKeyError: no active key may change this repository.
            CatalogueTamperedError: a row is none that was ever stored; nothing changed.
            CatalogueError: the database refused; nothing changed.
        """
        ref = request(name, Tag.to_store(tag), revision)
        with about(ref):
            return removing.remove(self._parts, ref, actor)

    def resign(
        self, ref: ArtifactRef, *, actor: str | None = None, accept_payload: str | None = None
    ) -> Artifact:
        """Give an artifact a signature of today's key; statement and payload stay as they are.

        Args:
            ref: which, with its revision.
            actor: who the caller says it is.
            accept_payload: SHA-256 (hexadecimal) of the payload. Needed where the present signature
                is a revoked key's, with an active admin key: its holder says that it is genuine.

        Raises:
            ArtifactNotFound: there is no such artifact.
            VerificationError, CatalogueTamperedError: its present signature is refused, as one of a
                revoked key is.
            NoSigningKeyError: no active key may sign here.
            CatalogueError: the database refused; nothing changed.
        """
        with about(ref):
            return removing.resign(self._parts, ref, actor, accept_payload)

    # ── aliases ──────────────────────────────────────────────────────────────

    def set_alias(
        self,
        name: str,
        alias: str,
        tag: str,
        *,
        revision: int | None = None,
        approvals: Sequence[bytes] = (),
        actor: str | None = None,
    ) -> Alias:
        """Let an alias of a name mean an artifact of it; ``load(name, alias)`` then loads that.

        Meaning the same artifact again is a move as well: it can bring approvals of its own.

        Args:
            name, alias: which alias; nothing was ever stored under it as a tag.
            tag, revision: what it is to mean; the newest revision by default. It does not follow
                later revisions.
            approvals: envelopes of approvals of this very move; see ``request_approvals``. As many
                as the settings ask for where the alias is protected; they may come before that.
            actor: who the caller says it is.

        Returns:
            What the alias means now.

        Raises:
            InvalidNameError: alias or tag are none, or ``latest``.
            AliasInTheWayError: the alias is a tag of this name, or the tag an alias.
            ArtifactNotFound: there is no such artifact.
            NotApprovedError: there are fewer approvals than the protected alias needs.
            VerificationError, CatalogueTamperedError: an approval is refused, or the artifact is.
            NoSigningKeyError: no active key may change this repository.
            CatalogueError: the database refused; nothing changed.
        """
        wanted = _wanted(name, alias, tag, revision)
        with about(wanted.ref):
            return aliasing.move_alias(self._parts, wanted, approvals=approvals, actor=actor)

    def rollback_alias(
        self,
        name: str,
        alias: str,
        *,
        approvals: Sequence[bytes] = (),
        actor: str | None = None,
    ) -> Alias:
        """Let an alias mean what it meant before its last move, as a move of its own.

        Raises:
            ArtifactNotFound: it meant nothing before, or that has been removed.
            SealstoreError: as ``set_alias``; approvals are of this move, too.
        """
        wanted = _wanted(name, alias)
        with about(wanted.ref):
            return aliasing.move_alias(self._parts, wanted, approvals=approvals, actor=actor)

    def request_approvals(
        self, name: str, alias: str, tag: str | None = None, *, revision: int | None = None
    ) -> AliasMove:
        """The move that ``set_alias`` would make now; this is what approvers sign.

        Args:
            name, alias: which alias.
            tag, revision: what it is to mean; without a tag, what it meant before its last move.

        Raises:
            SealstoreError: as ``set_alias``, but for the approvals.
        """
        wanted = _wanted(name, alias, tag, revision)
        with about(wanted.ref):
            return aliasing.request_approvals(self._parts, wanted)

    def apply_move(
        self, move: AliasMove, *, approvals: Sequence[bytes] = (), actor: str | None = None
    ) -> Alias:
        """Make the move that ``request_approvals`` gave, if it is still the one to be made.

        Raises:
            ApprovalMismatchError: alias, artifact or settings have changed since.
            SealstoreError: as ``set_alias``.
        """
        wanted = _wanted(move.name, move.alias, move.target.tag, move.target.revision)
        with about(wanted.ref):
            return aliasing.move_alias(
                self._parts, wanted, approvals=approvals, requested=move, actor=actor
            )

    def remove_alias(self, name: str, alias: str, *, actor: str | None = None) -> None:
        """Let an alias mean nothing any more. Its name stays an alias, which can be set again.

        Raises:
            ArtifactNotFound: it means nothing.
            AliasInTheWayError: it is a tag.
            NotApprovedError: it is protected.
            NoSigningKeyError: no active key may change this repository.
            CatalogueError: the database refused; nothing changed.
        """
        wanted = _wanted(name, alias)
        with about(wanted.ref):
            aliasing.remove_alias(self._parts, wanted, actor)

    def aliases(self, name: str) -> tuple[Alias, ...]:
        """What the aliases of a name mean: all of them, which is proven.

        Raises:
            InvalidNameError: the name is none.
            VerificationError, CatalogueTamperedError: the answer is refused.
            CatalogueError: the database failed.
        """
        return aliasing.list_aliases(self._parts, Name(name))

    def alias_history(
        self, name: str, alias: str, *, limit: int = 100, after: int | None = None
    ) -> tuple[HistoryEntry, ...]:
        """The moves of an alias, the newest first: each is proven, and that none is missing.

        Args:
            name, alias: which alias.
            limit: moves of the page.
            after: the number of the last move of the page before.

        Raises:
            ArtifactNotFound: there never was such an alias.
            LedgerTamperedError: a move is missing, or another one.
            CatalogueError: the database failed.
        """
        wanted = _wanted(name, alias)
        with about(wanted.ref):
            return aliasing.alias_history(self._parts, wanted, limit=limit, after=after)

    # ── the head, the keys, the settings ─────────────────────────────────────

    def heartbeat(self, *, actor: str | None = None) -> str:
        """Sign the heads anew, with today's time and keys; nothing else changes.

        For clients that refuse an old head (``MODEL_REPO_MAX_AGE``), and after a rotation of keys.

        Returns:
            The time of the new head, UTC.

        Raises:
            NoSigningKeyError: no active key may change this repository.
            VerificationError, CatalogueTamperedError: the present head is refused.
            CatalogueError: the database refused.
        """
        renew_heads(self._parts, environment.stored_by(actor))
        return self._parts.state.known().head.time

    def record_key_change(
        self, action: str, key_id: str, *, sign_settings: bool, actor: str | None = None
    ) -> None:
        """Put on record what happened to a key; head and settings get today's signatures.

        Raises:
            NoSigningKeyError: no active key may sign them.
            SealstoreError: the repository's present state is refused, or cannot be written.
        """
        who = environment.stored_by(actor)
        record_key_change(self._parts, who, action, key_id, sign_settings=sign_settings)

    def change_settings(self, *, actor: str | None = None, **changes: Any) -> RepositorySettings:
        """Sign the next version of the settings, and let it hold for every client.

        Args:
            actor: who the caller says it is.
            changes: the fields of ``RepositorySettings`` that change: ``policy``, ``revoked_keys``,
                ``protected_aliases``, ``immutable_tags``; each as its new value, or as a function
                of the present settings that gives it.

        Raises:
            NoSigningKeyError: no active keys have the roles admin and store here.
            SealstoreError: the repository's present state is refused, or cannot be written.
        """
        return change_settings(self._parts, environment.stored_by(actor), **changes)


def _wanted(name: str, alias: str, tag: str | None = None, revision: int | None = None) -> Wanted:
    if tag is None:
        return Wanted(Name(name), Tag.to_store(alias))
    ref = request(name, Tag.to_store(tag), revision)
    return Wanted(ref.name, Tag.to_store(alias), ref.tag, ref.revision)
