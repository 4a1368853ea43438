"""Whether every move of every alias, as the history has them, was made by the rules of its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from sealstore.audit.finding import Finding
from sealstore.errors import CatalogueTamperedError, LedgerTamperedError, SealstoreError
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.entries import HistoryEntry, decode_history_entry
from sealstore.ledger.merkle import verify_entries
from sealstore.repository.facade import Repository
from sealstore.signed.approval import AliasMove, AliasTarget, require_approvals
from sealstore.signed.settings import RepositorySettings, open_settings
from sealstore.storage.catalogue import Reading

_SETTINGS_EVENTS: Final = frozenset({"create", "settings", "rebuild"})


@dataclass(frozen=True, slots=True)
class _Move:
    """An entry of the history about an alias, and which settings held when it was made."""

    entry: HistoryEntry
    version: object
    settings_digest: object


@dataclass(slots=True)
class _Audit:
    """What the audit of one history knows so far."""

    repository: str
    keyring: Keyring
    rows: Reading
    moves: list[_Move] = field(default_factory=list)
    present: dict[tuple[object, object], tuple[int, AliasTarget | None]] = field(
        default_factory=dict
    )
    known_settings: dict[object, RepositorySettings] = field(default_factory=dict)

    def watch(self, entries: Iterable[bytes]) -> Iterator[bytes]:
        """The entries, as they are; those about aliases are noted on the way."""
        version: object = None
        digest: object = None
        for sequence, data in enumerate(entries, start=1):
            entry = decode_history_entry(data, sequence)
            if entry.event in _SETTINGS_EVENTS and "version" in entry.details:
                version, digest = entry.details["version"], entry.details.get("sha256")
            elif entry.event == "alias":
                self.moves.append(_Move(entry, version, digest))
            yield data

    def require_sound(self, move: _Move) -> None:
        """Return if a move follows the one before, and had its approvals.

        Raises:
            SealstoreError: it does not, or had not.
        """
        details = move.entry.details
        which = (details.get("name"), details.get("alias"))
        number, before = self.present.get(which, (0, None))
        target, previous = _target(move.entry, ""), _target(move.entry, "previous_")
        self.present[which] = (number + 1, target)
        if (details.get("move"), previous) != (number + 1, before):
            raise LedgerTamperedError(f"Move {number + 1} of the alias does not follow the others.")
        needed = self._settings(move).protected_aliases.get(str(which[1]), 0)
        if (details.get("settings_version"), details.get("approvals_needed")) != (
            move.version,
            needed,
        ):
            raise LedgerTamperedError(
                f"Move {number + 1} of the alias says that other settings held than did."
            )
        if target is not None:
            self._require_approved(move, number + 1, target, previous, needed)
        elif needed:
            raise LedgerTamperedError(f"Move {number + 1} removed the alias, which was protected.")

    def _require_approved(
        self,
        move: _Move,
        number: int,
        target: AliasTarget,
        previous: AliasTarget | None,
        needed: int,
    ) -> None:
        details = move.entry.details
        expected = AliasMove(
            repository=self.repository,
            name=str(details.get("name")),
            alias=str(details.get("alias")),
            target=target,
            move=number,
            previous=previous,
            settings_version=int(str(move.version)),
        )
        envelopes = self.rows.approvals.of_move(expected.name, expected.alias, number)
        keys = self.keyring.ids(State.RETIRED)
        found = require_approvals(envelopes, expected, needed, self.keyring, keys)
        said = {value for key, value in details.items() if key.startswith("approval_")}
        if said != {f"{each.key_id} {each.digest}" for each in found}:
            raise CatalogueTamperedError(
                f"The approvals of move {number} are not those that the history names."
            )

    def _settings(self, move: _Move) -> RepositorySettings:
        """The settings that held when a move was made."""
        if move.settings_digest not in self.known_settings:
            version = move.version if type(move.version) is int else 0
            envelope = self.rows.map.settings(version)
            if envelope is None:
                raise CatalogueTamperedError(f"Version {version} of the settings is missing.")
            found = open_settings(envelope, self.keyring)
            if found.digest != move.settings_digest:
                raise CatalogueTamperedError(f"Version {version} of the settings was changed.")
            self.known_settings[move.settings_digest] = found.document
        return self.known_settings[move.settings_digest]


def audit_aliases(repository: Repository) -> list[Finding]:
    """What is wrong with the moves of aliases, from the first one on.

    Each is held against the settings that held when it was made and against its approvals. A key
    that was revoked since counts as it did then: whether what an alias means *now* is approved by
    keys that are trusted *now* is what a load decides.

    Args:
        repository: the repository; its keyring has the public parts of all approvers' keys.

    Raises:
        LedgerTamperedError, LedgerFormatError: the history is not the one of the signed head.
        CatalogueError: the database failed.
    """
    state = repository.state
    as_then = Keyring.of(replace(key, state=State.RETIRED) for key in repository.keyring)
    findings = []
    with repository.catalogue.read() as rows:
        audit = _Audit(state.repository, as_then, rows)
        entries = audit.watch(rows.history.entries(0, state.head.size))
        verify_entries(entries, state.head.size, bytes.fromhex(state.head.root))
        for move in audit.moves:
            try:
                audit.require_sound(move)
            except SealstoreError as error:
                details = move.entry.details
                findings.append(Finding.of(error, f"{details.get('name')}:{details.get('alias')}"))
    return findings


def _target(entry: HistoryEntry, prefix: str) -> AliasTarget | None:
    """What the alias means after a move, or before it."""
    tag, revision, statement = (
        entry.details.get(f"{prefix}{part}") for part in ("tag", "revision", "statement")
    )
    if not (isinstance(tag, str) and type(revision) is int and isinstance(statement, str)):
        return None
    return AliasTarget(tag=tag, revision=revision, statement=statement)
