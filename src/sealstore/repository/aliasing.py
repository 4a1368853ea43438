"""Aliases: names beside the tags that mean one artifact, and a different one tomorrow.

An alias shares the namespace of the tags and is proven like one. Each change of what it means is a
*move*: counted, in the history, and approved by several people where the settings protect the alias
(``sealstore.signed.approval``). A rollback is a move like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sealstore import limits
from sealstore.errors import (
    ApprovalMismatchError,
    ArtifactNotFound,
    CatalogueTamperedError,
    LedgerTamperedError,
    NotApprovedError,
)
from sealstore.keys.keyring import State
from sealstore.ledger.head import Head
from sealstore.ledger.history import HistoryEntry
from sealstore.ledger.map_values import AliasValue, RevisionValue
from sealstore.ledger.proven_map import MapAnswers
from sealstore.names import ArtifactRef, Name, Tag, request
from sealstore.repository import environment
from sealstore.repository.artifact import entry_artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.history_entries import CachedNodes, Detail, proven_entry
from sealstore.repository.loading import about
from sealstore.repository.map_changes import (
    alias_value,
    aliases_of,
    meant_revision,
    note_moved,
    target_of,
)
from sealstore.repository.proving import verified_in
from sealstore.repository.recording import Change, change
from sealstore.repository.state import RepositoryState
from sealstore.signed.approval import AliasMove, AliasTarget, VerifiedApproval
from sealstore.signed.approving import require_approvals
from sealstore.signed.envelope import VerifiedStatement
from sealstore.storage.catalogue.chain_rows import newest_rows
from sealstore.storage.catalogue.changing import ApprovalRow
from sealstore.storage.catalogue.ledger_rows import ChainReader
from sealstore.storage.catalogue.listing import artifact_at
from sealstore.verification import Proven


@dataclass(frozen=True, slots=True)
class Alias:
    """What an alias means.

    Attributes:
        name, alias: which alias.
        tag, revision, statement: of the artifact that it means, the last as its digest.
        move: how often it has been changed.
        approvals_needed: by how many people a move has to be approved; 0 where it is not protected.
    """

    name: str
    alias: str
    tag: str
    revision: int
    statement: str
    move: int
    approvals_needed: int

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "name": self.name,
            "alias": self.alias,
            "tag": self.tag,
            "revision": self.revision,
            "statementSha256": self.statement,
            "move": self.move,
            "approvalsNeeded": self.approvals_needed,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of an alias.

    Attributes:
        name, alias: which alias.
        tag: what it is to mean; None for what it meant before its last move.
        revision: of the tag; None for the newest.
    """

    name: Name
    alias: Tag
    tag: Tag | None = None
    revision: int | None = None

    @classmethod
    def of(
        cls, name: str, alias: str, tag: str | None = None, revision: int | None = None
    ) -> Wanted:
        """What a caller asks.

        Raises:
            InvalidNameError: one of them is invalid.
        """
        if tag is None:
            return cls(Name(name), Tag.to_store(alias))
        ref = request(name, Tag.to_store(tag), revision)
        return cls(ref.name, Tag.to_store(alias), ref.tag, ref.revision)

    @property
    def ref(self) -> ArtifactRef:
        """The alias as a request names it."""
        return ArtifactRef(self.name, self.alias)


# ── moving ───────────────────────────────────────────────────────────────────


def move_alias(
    parts: Parts,
    wanted: Wanted,
    *,
    approvals: Sequence[bytes],
    requested: AliasMove | None = None,
    actor: str | None,
) -> Alias:
    """Let an alias mean another artifact. See ``Repository.set_alias``.

    Args:
        parts: of the repository.
        wanted: what it is to mean.
        approvals: envelopes; unauthenticated.
        requested: the move that was asked for; None where nobody wrote it down.
        actor: who the caller says it is.
    """
    with about(wanted.ref), change(parts, environment.stored_by(actor)) as (made, state):
        present, target, stored = _meant(made, made.transaction.history, state.head, wanted)
        move = _next_move(state, wanted, present, target)
        if requested not in (None, move):
            raise ApprovalMismatchError(
                "The move that was requested is not the one that would be made now: the alias, its"
                " artifact or the settings have changed since."
            )
        verified = _verified(made, state, wanted.name, target, stored)
        needed = state.document.protected_aliases.get(move.alias, 0)
        active = state.keyring.ids(State.ACTIVE)
        given = require_approvals(approvals, move, needed, state.keyring, active)
        moved = note_moved(made, wanted.name, wanted.alias, target)
        _keep(made, wanted, moved, given)
        details = _details(wanted, moved, present, state, given)
        made.append("alias", entry_artifact(verified), at=environment.now(), **details)
    return _described(wanted.name, wanted.alias, moved, target, needed)


def remove_alias(parts: Parts, wanted: Wanted, actor: str | None) -> None:
    """Let an alias mean nothing any more. See ``Repository.remove_alias``."""
    with about(wanted.ref), change(parts, environment.stored_by(actor)) as (made, state):
        present = alias_value(made, wanted.name, wanted.alias)
        if target_of(present) is None:
            raise _no_alias()
        if str(wanted.alias) in state.document.protected_aliases:
            raise NotApprovedError(
                f"{wanted.alias} is protected, and so cannot be removed.",
                hint="an admin takes the protection away first: 'sealstore alias unprotect'.",
            )
        moved = note_moved(made, wanted.name, wanted.alias, None)
        _keep(made, wanted, moved, ())
        details = _details(wanted, moved, present, state, ())
        made.append("alias", None, at=environment.now(), **details)


def _meant(
    answers: MapAnswers, history: ChainReader, head: Head, wanted: Wanted
) -> tuple[AliasValue | None, AliasTarget, RevisionValue]:
    """What the alias means now, what it is to mean, and what the map says of that."""
    present = alias_value(answers, wanted.name, wanted.alias)
    if wanted.tag is not None:
        return present, *meant_revision(answers, wanted.name, wanted.tag, wanted.revision)
    if present is None:
        raise _no_alias()
    entry = next(_moves(history, head, wanted, present.move))
    tag, revision = entry.details["previous_tag"], entry.details["previous_revision"]
    if not isinstance(tag, str) or type(revision) is not int:
        raise ArtifactNotFound("Before its last move the alias meant nothing to go back to.")
    return present, *meant_revision(answers, wanted.name, Tag.to_store(tag), revision)


def _next_move(
    state: RepositoryState, wanted: Wanted, present: AliasValue | None, target: AliasTarget
) -> AliasMove:
    return AliasMove(
        repository=state.repository,
        name=str(wanted.name),
        alias=str(wanted.alias),
        target=target,
        move=1 if present is None else present.move + 1,
        previous=target_of(present),
        settings_version=state.document.version,
    )


def _verified(
    made: Change, state: RepositoryState, name: Name, target: AliasTarget, stored: RevisionValue
) -> VerifiedStatement:
    """The artifact's statement: nobody lets an alias mean what would not load."""
    row = artifact_at(made.transaction, stored.sequence)
    if row is None:
        raise CatalogueTamperedError(
            "The signed head vouches for the artifact, and the catalogue has no row of it."
        )
    ref = ArtifactRef(name, Tag.to_store(target.tag), target.revision)
    return verified_in(state, row, Proven(ref, target.statement))


def _keep(
    made: Change, wanted: Wanted, moved: AliasValue, given: Sequence[VerifiedApproval]
) -> None:
    name, alias, move = str(wanted.name), str(wanted.alias), moved.move
    rows = [ApprovalRow(each.digest, name, alias, move, each.envelope) for each in given]
    made.transaction.replace_approvals(name, alias, move, rows)


def _details(
    wanted: Wanted,
    moved: AliasValue,
    present: AliasValue | None,
    state: RepositoryState,
    given: Sequence[VerifiedApproval],
) -> dict[str, Detail]:
    """What the history says of a move, besides the artifact."""
    document = state.document
    approved: dict[str, Detail] = {
        f"approval_{number}": f"{each.key_id} {each.digest}"
        for number, each in enumerate(given, start=1)
    }
    return {
        "name": str(wanted.name),
        "alias": str(wanted.alias),
        "move": moved.move,
        "tag": moved.tag,
        "revision": moved.revision,
        "statement": moved.statement,
        "previous_tag": None if present is None else present.tag,
        "previous_revision": None if present is None else present.revision,
        "previous_statement": None if present is None else present.statement,
        "settings_version": document.version,
        "approvals_needed": document.protected_aliases.get(str(wanted.alias), 0),
        **approved,
    }


def _described(
    name: Name, alias: Tag, value: AliasValue, target: AliasTarget, needed: int
) -> Alias:
    return Alias(
        name=str(name),
        alias=str(alias),
        tag=target.tag,
        revision=target.revision,
        statement=target.statement,
        move=value.move,
        approvals_needed=needed,
    )


def _no_alias() -> ArtifactNotFound:
    return ArtifactNotFound(
        "There is no such alias in this repository.",
        hint="'sealstore alias list' shows the aliases of a name.",
    )


# ── looking ──────────────────────────────────────────────────────────────────


def request_approvals(parts: Parts, wanted: Wanted) -> AliasMove:
    """The move that would be made now. See ``Repository.request_approvals``."""
    with about(wanted.ref), parts.snapshot() as snapshot:
        state = snapshot.state
        present, target, _ = _meant(snapshot.answers, snapshot.rows.history, state.head, wanted)
    return _next_move(state, wanted, present, target)


def list_aliases(parts: Parts, name: str) -> tuple[Alias, ...]:
    """What the aliases of a name mean. See ``Repository.aliases``."""
    wanted = Name(name)
    with parts.snapshot() as snapshot:
        found = list(aliases_of(snapshot.answers, wanted))
    protected = snapshot.state.document.protected_aliases
    return tuple(
        _described(wanted, alias, value, target, protected.get(str(alias), 0))
        for alias, value in found
        if (target := target_of(value)) is not None
    )


def alias_history(
    parts: Parts, wanted: Wanted, *, limit: int, after: int | None
) -> tuple[HistoryEntry, ...]:
    """The moves of an alias, the newest first. See ``Repository.alias_history``."""
    with about(wanted.ref), parts.snapshot() as snapshot:
        present = alias_value(snapshot.answers, wanted.name, wanted.alias)
        if present is None:
            raise _no_alias()
        entries = []
        for entry in _moves(snapshot.rows.history, snapshot.state.head, wanted, present.move):
            if after is None or _number(entry) < after:
                entries.append(entry)
            if len(entries) >= limit:
                break
    return tuple(entries)


def _moves(history: ChainReader, head: Head, wanted: Wanted, newest: int) -> Iterator[HistoryEntry]:
    """The entries of an alias's moves, the newest first; each is proven, and that none is missing.

    Args:
        history: where rows come from.
        head: the verified head.
        wanted: which alias.
        newest: the number of its last move, from the map.

    Raises:
        LedgerTamperedError: one is missing, or a different one.
    """
    nodes = CachedNodes(history)
    before, number = head.size + 1, newest
    while True:
        rows = newest_rows(
            history,
            limit=limits.MAX_LIST_ROWS,
            before_sequence=before,
            name=str(wanted.name),
            events=["alias"],
        )
        if not rows:
            raise _missing(number, newest)
        for row in rows:
            entry = proven_entry(row, nodes, head)
            if entry.details.get("alias") != str(wanted.alias):
                continue
            if _number(entry) != number:
                raise _missing(number, newest)
            yield entry
            number -= 1
            if number == 0:
                return
        before = rows[-1].sequence


def _missing(number: int, newest: int) -> LedgerTamperedError:
    return LedgerTamperedError(
        f"The alias has moved {newest} times, and the history's entry of move {number} is missing."
    )


def _number(entry: HistoryEntry) -> int:
    number = entry.details.get("move")
    return number if type(number) is int else 0
