"""Verifying chains as a whole, or what was appended to them since a checkpoint.

What can be found, and against what:

- an entry that was changed, removed, moved, doubled, or put in between: against the signed head;
- entries cut off at the end: against the signed head, which says how many there are;
- entries cut off together with the head, an older one of which was put back: only against something
  that was kept elsewhere, a checkpoint or this client's trust state. Where neither is, the report
  says so: such a cut would not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sealstore.audit.chains import (
    AuditedChain,
    ChainName,
    ChainSource,
    Checkpoint,
    Entry,
    Ledger,
    open_ledger,
)
from sealstore.audit.findings import AuditFinding, Finding, Findings
from sealstore.audit.hashing import Hashed, HashingPass
from sealstore.audit.replaying import Replay
from sealstore.errors import (
    AccessLogNotFoundError,
    CatalogueTamperedError,
    LedgerTamperedError,
    SealstoreError,
    VerificationError,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.head import Head
from sealstore.ledger.history import HistoryEntry, decode_history_entry
from sealstore.ledger.merkle import Frontier, verify_entries
from sealstore.ledger.whole_tree import frontier_at
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings
from sealstore.signed.approval import AliasMove, AliasTarget
from sealstore.signed.approving import require_approvals
from sealstore.signed.settings import RepositorySettings, open_settings
from sealstore.storage.catalogue import Reading
from sealstore.trust.record import TrustRecord

CUT_IS_NOT_SEEN: Final = (
    "compared with nothing older: if entries were cut off together with the head, it does not show"
    " here. Keep checkpoints elsewhere ('sealstore audit checkpoint'), and give the last one with"
    " --since."
)

REFUSALS: Final = (VerificationError, CatalogueTamperedError, AccessLogNotFoundError)
"""What is a finding of an audit, rather than a failure to make one."""

Hear = Callable[[Entry], None]


@dataclass(frozen=True, slots=True)
class ComparedWith:
    """Something older that a head was held against.

    Attributes:
        kind: ``checkpoint`` or ``trust state``.
        size, time: what it says.
    """

    kind: str
    size: int
    time: str

    @classmethod
    def of(cls, kind: str, checkpoint: Checkpoint) -> ComparedWith:
        """What is told of a checkpoint."""
        return cls(kind, checkpoint.size, checkpoint.time)


@dataclass(slots=True)
class ChainReport:
    """What verifying one chain gave.

    Attributes:
        chain: which.
        findings: everything that is wrong.
        head: what the verified head says; None where it was refused.
        key_id: the key that signed it.
        start: how many entries were passed over: those of the checkpoint.
        hashed: what was hashed, and how long it took.
        map_records: how many records of the map were held against the history; None where that was
            not done.
        compared_with: what the head was held against.
    """

    chain: ChainName
    findings: Findings
    head: Checkpoint | None = None
    key_id: str | None = None
    start: int = 0
    hashed: Hashed | None = None
    map_records: int | None = None
    compared_with: list[ComparedWith] = field(default_factory=list)

    @property
    def entries_per_second(self) -> float:
        """Throughput, decoding included; 0 where nothing was hashed."""
        hashed = self.hashed
        if hashed is None or not hashed.entries:
            return 0.0
        return hashed.entries / (hashed.hashing_seconds + hashed.decoding_seconds)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        hashed = self.hashed or Hashed(Frontier())
        return {
            "chain": self.chain.value,
            "ok": not self.findings,
            "head": None if self.head is None else head_json(self.head),
            "keyId": self.key_id,
            "verifiedFrom": self.start,
            "entries": hashed.entries,
            "storedHashes": hashed.nodes,
            "mapRecords": self.map_records,
            "hashingSeconds": round(hashed.hashing_seconds, 6),
            "decodingSeconds": round(hashed.decoding_seconds, 6),
            "entriesPerSecond": round(self.entries_per_second),
            "comparedWith": [
                {"kind": each.kind, "size": each.size, "time": each.time}
                for each in self.compared_with
            ],
            "cutWithOlderHeadWouldShow": bool(self.compared_with),
            "findings": [finding.to_json() for finding in self.findings],
            "findingsInAll": self.findings.count,
        }


@dataclass(slots=True)
class AuditReport:
    """What verifying the ledger gave, chain by chain."""

    chains: list[ChainReport] = field(default_factory=list)

    @property
    def findings(self) -> list[AuditFinding]:
        """Everything that is wrong."""
        return [finding for report in self.chains for finding in report.findings]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(report.findings for report in self.chains)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {"ok": self.is_sound, "chains": [report.to_json() for report in self.chains]}


def head_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a head or a checkpoint says of its chain, as JSON values."""
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root,
        "time": checkpoint.time,
    }


# ── the ledger ───────────────────────────────────────────────────────────────


def verify_ledger(
    settings: Settings,
    *,
    chain: ChainName | None = None,
    since: Mapping[ChainName, Checkpoint] | None = None,
    hear: Hear | None = None,
    progress: Progress = no_progress,
) -> AuditReport:
    """Verify the chains of the configured repository.

    Args:
        settings: name the repository and the keys.
        chain: only this one; both by default.
        since: verified checkpoints: only what was appended after one is hashed, and that the chain
            extends it is proven.
        hear: is given each entry, in order.
        progress: hears of a phase for each chain, in entries.

    Raises:
        SealstoreError: the database, the keys or the trust state failed. What is refused is a
            finding.
    """
    # Opening the repository remembers what is there: what was known before is asked first.
    record = settings.trust_store().read()
    report = AuditReport()
    try:
        with open_ledger(settings) as ledger:
            for source in ledger.chosen(chain):
                point = (since or {}).get(source.name)
                report.chains.append(
                    verify_source(ledger, source, record, point, hear=hear, progress=progress)
                )
    except REFUSALS as error:
        # Without a verified head of the history nothing is known of the keys either.
        findings = Findings(ChainName.HISTORY)
        findings.add(error)
        report.chains.append(ChainReport(ChainName.HISTORY, findings))
    return report


def verify_source(
    ledger: Ledger,
    source: ChainSource,
    record: TrustRecord | None,
    since: Checkpoint | None,
    *,
    hear: Hear | None = None,
    progress: Progress = no_progress,
) -> ChainReport:
    """Verify one chain; see ``verify_ledger``."""
    report = ChainReport(source.name, Findings(source.name))
    has_aliases = False
    try:
        with source.open() as chain:
            report.head, report.key_id = chain.checkpoint, chain.key_id
            remembered = source.known(record)
            if remembered is not None:
                # Held against it where the chain was opened.
                report.compared_with.append(ComparedWith.of("trust state", remembered))
            start, roots = _starting_point(chain, since, report)
            replay = None
            if isinstance(chain.head, Head) and start.size == 0:
                replay = Replay()
            report.start = start.size
            report.hashed = HashingPass(
                chain, report.findings, start, roots, _hearing(replay, hear), progress
            ).run()
            # A history that is not the head's would have other things to say of the map.
            if replay is not None and report.hashed.is_whole:
                report.map_records = _compare_map(chain, replay, report.findings)
                has_aliases = replay.has_aliases
    except REFUSALS as error:
        report.findings.add(error)
    if has_aliases:
        _verify_aliases(ledger.repository, report)
    return report


def _starting_point(
    chain: AuditedChain, since: Checkpoint | None, report: ChainReport
) -> tuple[Frontier, dict[int, tuple[bytes, str]]]:
    """From where on entries are hashed, and which roots they must lead to."""
    roots = {chain.head.size: (chain.root, "the signed head")}
    if since is None:
        return Frontier(), roots
    report.compared_with.append(ComparedWith.of("checkpoint", since))
    try:
        chain.require_extends(since)
        start = frontier_at(chain.reader, since.size, bytes.fromhex(since.root))
    except VerificationError as error:
        # Stored hashes may be all that is wrong: then every entry is hashed, those of the
        # checkpoint among them.
        report.findings.add(error)
        if since.origin == chain.checkpoint.origin and 0 < since.size < chain.head.size:
            roots[since.size] = (bytes.fromhex(since.root), "the checkpoint")
        return Frontier(), roots
    return start, roots


def _compare_map(chain: AuditedChain, replay: Replay, findings: Findings) -> int | None:
    if not isinstance(chain.head, Head) or chain.map is None:
        return None
    return replay.compare(bytes.fromhex(chain.head.map_root), chain.map, findings)


def _hearing(replay: Replay | None, hear: Hear | None) -> Hear:
    def hear_both(entry: Entry) -> None:
        if replay is not None and isinstance(entry, HistoryEntry):
            replay.hear(entry)
        if hear is not None:
            hear(entry)

    return hear_both


def _verify_aliases(repository: Repository, report: ChainReport) -> None:
    try:
        for finding in audit_aliases(repository):
            report.findings.add_tampered(f"{finding.artifact}: {finding.message}")
    except REFUSALS as error:
        report.findings.add(error)


# ── moves of aliases: whether each was made by the rules of its time ─────────

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
        envelopes = self.rows.approvals(expected.name, expected.alias, number)
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
            envelope = self.rows.settings(version)
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
