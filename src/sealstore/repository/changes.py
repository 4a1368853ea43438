"""What a user calls to change what is there: removing, aliases, heads, keys, settings.

Each is one transaction from the verified head to the next one (``recording.change``). A process
that only loads imports none of the flows behind these calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sealstore.names import ArtifactRef, Tag, request
from sealstore.process_bound import ProcessBound
from sealstore.repository import environment

if TYPE_CHECKING:
    from sealstore.ledger.history import HistoryEntry
    from sealstore.repository.aliasing import Alias
    from sealstore.repository.artifact import Artifact
    from sealstore.repository.assembly import Parts
    from sealstore.signed.approval import AliasMove
    from sealstore.signed.settings import RepositorySettings


class Changes(ProcessBound):
    """The calls of a ``Repository`` that change what is there, and look at its aliases."""

    _parts: Parts

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
        from sealstore.repository import removing

        ref = request(name, Tag.to_store(tag), revision)
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
        from sealstore.repository import removing

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
        from sealstore.repository import aliasing

        wanted = aliasing.Wanted.of(name, alias, tag, revision)
        return aliasing.move_alias(self._parts, wanted, approvals=approvals, actor=actor)

    def rollback_alias(
        self, name: str, alias: str, *, approvals: Sequence[bytes] = (), actor: str | None = None
    ) -> Alias:
        """Let an alias mean what it meant before its last move, as a move of its own.

        Raises:
            ArtifactNotFound: it meant nothing before, or that has been removed.
            SealstoreError: as ``set_alias``; approvals are of this move, too.
        """
        from sealstore.repository import aliasing

        wanted = aliasing.Wanted.of(name, alias)
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
        from sealstore.repository import aliasing

        wanted = aliasing.Wanted.of(name, alias, tag, revision)
        return aliasing.request_approvals(self._parts, wanted)

    def apply_move(
        self, move: AliasMove, *, approvals: Sequence[bytes] = (), actor: str | None = None
    ) -> Alias:
        """Make the move that ``request_approvals`` gave, if it is still the one to be made.

        Raises:
            ApprovalMismatchError: alias, artifact or settings have changed since.
            SealstoreError: as ``set_alias``.
        """
        from sealstore.repository import aliasing

        wanted = aliasing.Wanted.of(move.name, move.alias, move.target.tag, move.target.revision)
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
        from sealstore.repository import aliasing

        wanted = aliasing.Wanted.of(name, alias)
        aliasing.remove_alias(self._parts, wanted, actor)

    def aliases(self, name: str) -> tuple[Alias, ...]:
        """What the aliases of a name mean: all of them, which is proven.

        Raises:
            InvalidNameError: the name is none.
            VerificationError, CatalogueTamperedError: the answer is refused.
            CatalogueError: the database failed.
        """
        from sealstore.repository import aliasing

        return aliasing.list_aliases(self._parts, name)

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
            LedgerTamperedError: a move is missing, or a different one.
            CatalogueError: the database failed.
        """
        from sealstore.repository import aliasing

        wanted = aliasing.Wanted.of(name, alias)
        return aliasing.alias_history(self._parts, wanted, limit=limit, after=after)

    # ── the head, the keys, the settings ─────────────────────────────────────

    def heartbeat(self, *, actor: str | None = None) -> str:
        """Sign the heads again, with today's time and keys; nothing else changes.

        For clients that refuse an old head (``MODEL_REPO_MAX_AGE``), and after a rotation of keys.

        Returns:
            The time of the new head, UTC.

        Raises:
            NoSigningKeyError: no active key may change this repository.
            VerificationError, CatalogueTamperedError: the present head is refused.
            CatalogueError: the database refused.
        """
        from sealstore.repository.recording import renew_heads

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
        from sealstore.repository.recording import record_key_change

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
        from sealstore.repository.recording import change_settings

        return change_settings(self._parts, environment.stored_by(actor), **changes)
