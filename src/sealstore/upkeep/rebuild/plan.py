"""What becomes of what is left: decided from verified things alone, nothing is read or written.

1. The newest state that anything remembers must not contradict the settings, and the settings are
   not older than it.
2. A proven history decides what was stored, removed and moved. What it has another entry for, or
   none, is not taken.
3. Where it ends before the last known state, the proven map of the old catalogue decides what was
   stored and removed: after that end, too, of what the history has.
4. Where that says nothing either, or is older than the last known state itself, a genuine statement
   is taken, unless nothing proves it and its key is retired (then the operator has to say so), or
   its file's name says that the artifact was removed.
5. Two different statements for one revision, or for one place in the history, stop it all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sealstore import limits
from sealstore.audit.contents import Contents, shown
from sealstore.audit.findings import Finding
from sealstore.errors import (
    CatalogueTamperedError,
    LedgerTamperedError,
    RebuildRefusedError,
    RepositoryExchangedError,
    RetiredKeyError,
    RollbackError,
)
from sealstore.ledger.authenticated_map import EMPTY_MAP_ROOT
from sealstore.ledger.history import HistoryEntry
from sealstore.ledger.map_values import RevisionValue
from sealstore.ledger.merkle import EMPTY_ROOT
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.ledger.proven_map import ProvenMap
from sealstore.names import ArtifactRef
from sealstore.signed.settings import RebuiltFrom
from sealstore.upkeep.rebuild.sources import Candidate, OldCatalogue, Sources, is_retired


@dataclass(slots=True)
class RebuildReport:
    """What can be recovered, or was.

    Attributes:
        repository: its id.
        written: whether the new catalogue is in its place.
        last_known: the newest state of the repository that anything here remembers; None if
            nothing does.
        epoch: of the new history.
        proven_entries: how many entries of the old history are proven, and stay as they are.
        entries: of the new history.
        recovered: the artifacts that are there afterwards.
        removed: the artifacts that were removed, and stay so.
        lost: what cannot be recovered.
        notes: what cannot be known, and what was made of it.
        settings_version: of the settings that were found.
    """

    repository: str
    epoch: int
    settings_version: int
    last_known: HistoryCheckpoint | None
    written: bool = False
    proven_entries: int = 0
    entries: int = 0
    recovered: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    lost: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lose(self, ref: str | None, code: str, text: str, hint: str) -> None:
        """Note that something is not recovered, and why."""
        self.lost.append(Finding(ref, code, text, hint))

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        last = self.last_known
        return {
            "repository": self.repository,
            "written": self.written,
            "epoch": self.epoch,
            "settingsVersion": self.settings_version,
            "lastKnown": None
            if last is None
            else {"epoch": last.epoch, "size": last.size, "root": last.root, "time": last.time},
            "provenEntries": self.proven_entries,
            "entries": self.entries,
            "recovered": self.recovered,
            "removed": self.removed,
            "lost": [finding.to_json() for finding in self.lost],
            "notes": self.notes,
        }


_SHOWN_CONFLICTS = 10


@dataclass(slots=True)
class Plan:
    """The new history, and what is stored after it.

    Attributes:
        rebuilt_from: the last known state.
        proven: the entries that stay as they are, from the first on.
        stores: statements whose entries are made again, by their place.
        size: entries of the old history, those that are lost among them.
        kept: the statements of what is stored afterwards, by the place of their store.
        removed: those of artifacts that were removed after the last proven entry.
        lost: the artifacts of proven entries whose statement is gone.
    """

    rebuilt_from: RebuiltFrom
    proven: list[HistoryEntry]
    stores: dict[int, Candidate] = field(default_factory=dict)
    size: int = 0
    kept: dict[int, Candidate] = field(default_factory=dict)
    removed: list[Candidate] = field(default_factory=list)
    lost: list[HistoryEntry] = field(default_factory=list)


def plan(
    found: Sources, old: OldCatalogue | None, report: RebuildReport, *, accept_retired: bool
) -> Plan:
    """Decide what becomes of everything, and say so in the report.

    Args:
        found: what is left.
        old: the old catalogue, for its proven map.
        report: of the rebuild.
        accept_retired: whether statements of retired keys are taken where nothing proves that they
            were on record while the key was active.

    Raises:
        RollbackError, LedgerTamperedError, RepositoryExchangedError: settings or history are not
            those of the last known state.
        RebuildRefusedError: two statements contradict each other, or the history has no end.
    """
    # step 1: the settings are of the last known state, or later
    _require_settings_of_their_time(found)
    made = Plan(_rebuilt_from(found, report), found.history.entries)
    report.proven_entries = len(made.proven)
    judge = _Judge(found, None if old is None else old.map(), old, report, accept_retired)
    for candidate in judge.one_for_each_revision():
        verdict = judge.judge(candidate)
        if verdict is None:
            continue
        if candidate.sequence > len(made.proven):
            judge.require_alone(made.stores.setdefault(candidate.sequence, candidate), candidate)
        elif candidate.sequence in judge.contents.removed:
            continue
        if verdict == "removed":
            made.removed.append(candidate)
        else:
            made.kept[candidate.sequence] = candidate
    judge.require_order(made.stores)
    judge.require_no_conflict()
    last = 0 if report.last_known is None else report.last_known.size
    made.size = max(len(made.proven), last, *made.stores, 0)
    if made.size > limits.MAX_REBUILT_ENTRIES:
        raise RebuildRefusedError(
            f"A statement claims place {made.size} of the history, and no history that is rebuilt"
            f" may have more than {limits.MAX_REBUILT_ENTRIES} entries.",
            hint="whoever signed it has the store key: find out, and revoke the key.",
        )
    _find_lost(made, judge.contents, report)
    report.entries = made.size
    report.removed += sorted(
        [shown(each) for each in judge.contents.removed.values()]
        + [str(each.ref) for each in made.removed]
    )
    report.recovered += sorted(str(each.ref) for each in made.kept.values())
    return made


def _rebuilt_from(found: Sources, report: RebuildReport) -> RebuiltFrom:
    last = report.last_known
    if last is None:
        return RebuiltFrom(
            epoch=report.epoch - 1, size=0, root=EMPTY_ROOT.hex(), map_root=EMPTY_MAP_ROOT.hex()
        )
    return RebuiltFrom(epoch=last.epoch, size=last.size, root=last.root, map_root=last.map_root)


def _require_settings_of_their_time(found: Sources) -> None:
    document = found.settings.document
    last = found.last_known()
    known: list[tuple[int, object, str]] = []
    if last is not None:
        if document.epoch > last.epoch:
            raise RepositoryExchangedError(
                "The settings are of a later epoch than anything that is remembered here: the"
                " repository has been rebuilt already.",
                hint="'sealstore trust accept --current' accepts that, once you know that it is"
                " right; otherwise restore repository.json from a backup.",
            )
        known.append((last.settings_version, last.settings_digest, "the last known head"))
    for entry in found.history.entries:
        version = entry.details.get("version")
        if entry.event in ("create", "settings", "rebuild") and type(version) is int:
            known.append((version, entry.details.get("sha256"), f"entry {entry.sequence}"))
    if not known:
        return
    version, digest, where = max(known, key=lambda each: each[0])
    if document.version < version:
        raise RollbackError(
            f"repository.json is version {document.version} of the settings, and {where} names"
            f" version {version}.",
            hint="restore the newest repository.json from a backup: without it, revocations and"
            " the policy would be lost.",
        )
    if document.version == version and found.settings.digest != digest:
        raise LedgerTamperedError(
            f"repository.json and {where} have different settings under one version."
        )


def _find_lost(made: Plan, contents: Contents, report: RebuildReport) -> None:
    removed_since = {each.sequence for each in made.removed}
    for sequence, artifact in contents.stored.items():
        if sequence not in made.kept and sequence not in removed_since:
            made.lost.append(made.proven[sequence - 1])
            report.lose(
                shown(artifact),
                "STATEMENT_LOST",
                "The history has it, and its signed statement is nowhere.",
                "restore statements/ from a backup, and rebuild again; or store it again.",
            )
    known = len(made.proven) + len(made.stores)
    if made.size > known:
        report.lose(
            None,
            "ENTRIES_LOST",
            f"{made.size - known} of {made.size} entries of the history are lost: what they"
            " removed, moved or changed cannot be known.",
            "give a newer export with --history, if there is one.",
        )


@dataclass(slots=True)
class _Judge:
    found: Sources
    map: ProvenMap | None
    old: OldCatalogue | None
    report: RebuildReport
    accept_retired: bool
    contents: Contents = field(default_factory=Contents)
    conflicts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for entry in self.found.history.entries:
            self.contents.hear(entry)

    def one_for_each_revision(self) -> Iterator[Candidate]:
        """Each statement once, under the signature that will be good for longest."""
        chosen: dict[ArtifactRef, Candidate] = {}
        for candidate in self.found.candidates:
            other = chosen.get(candidate.ref)
            if other is None:
                chosen[candidate.ref] = candidate
            elif other.verified.digest != candidate.verified.digest:
                self._conflict(f"{candidate.ref}", other, candidate)
            else:
                keyring = self.found.keyring
                best = candidate if is_retired(keyring, other) else other
                away = other.is_put_away or candidate.is_put_away
                chosen[candidate.ref] = Candidate(best.verified, best.envelope, best.where, away)
        yield from sorted(chosen.values(), key=lambda each: each.sequence)

    def judge(self, candidate: Candidate) -> str | None:
        """``stored``, ``removed``, or None where it is not taken."""
        # step 2: what a proven history says
        entries = self.found.history.entries
        by_history: str | None = ""
        if candidate.sequence <= len(entries) or self._in_history(candidate) is not None:
            by_history = self._by_history(candidate)
            if by_history != "stored" or self._is_last_known(len(entries)):
                return by_history
        # step 3: what the old catalogue's proven map says
        by_map = self._by_map(candidate)
        if by_map not in ("", "stored") or (by_map == "stored" and self._is_newest_map()):
            return by_map
        # step 4: what nothing proven speaks of
        if by_history or by_map:
            return self._by_name(candidate)
        if is_retired(self.found.keyring, candidate) and not self.accept_retired:
            key_id = candidate.verified.key_id
            self._not_taken(
                candidate,
                RetiredKeyError.code,
                f"Key {key_id}, which signed it, is retired, and nothing proves that it was on"
                " record before.",
                "if nobody else ever had that key, --accept-retired takes what it signed.",
            )
            return None
        return "removed" if candidate.is_put_away else "stored"

    def _is_last_known(self, size: int) -> bool:
        last = self.report.last_known
        return last is not None and size >= last.size

    def _is_newest_map(self) -> bool:
        head, last = None if self.old is None else self.old.head, self.report.last_known
        if head is None or last is None:
            return False
        return (head.epoch, head.size) == (last.epoch, last.size)

    def _by_name(self, candidate: Candidate) -> str:
        """What the file's name says of an artifact that was stored, as far as that is proven."""
        if not candidate.is_put_away:
            return "stored"
        self.report.notes.append(
            f"{candidate.ref} was stored, as far as anything is proven. That it was removed since,"
            f" {candidate.where} says by its name alone: it stays removed."
        )
        return "removed"

    def _in_history(self, candidate: Candidate) -> str | None:
        stored = self.contents.find(candidate.ref)
        known = self.contents.find_removed(candidate.ref) if stored is None else stored[1]
        return None if known is None else known.statement

    def _by_history(self, candidate: Candidate) -> str | None:
        digest = candidate.verified.digest
        known = self._in_history(candidate)
        if known is not None and known != digest:
            self._contradict(candidate, f"the history in {self.found.history.where}", known)
            return None
        entries = self.found.history.entries
        index = candidate.sequence - 1
        artifact = entries[index].artifact if index < len(entries) else None
        if known is None or artifact is None or artifact.statement != digest:
            self._refuse_unknown(candidate, "the proven history")
            return None
        return "stored" if candidate.sequence in self.contents.stored else "removed"

    def _by_map(self, candidate: Candidate) -> str | None:
        """What the old map proves: as ``judge``; "" where it proves nothing."""
        if self.map is None or self.old is None or self.old.head is None:
            return ""
        ref = candidate.ref
        value: RevisionValue | None
        try:
            value = self.map.revision(ref.name, ref.tag, ref.revision or 0)
        except CatalogueTamperedError:
            return ""
        if value is None and candidate.sequence > self.old.head.size:
            return ""
        if value is not None and value.statement != candidate.verified.digest:
            self._contradict(candidate, "the old catalogue's map", value.statement)
            return None
        if value is None or value.sequence != candidate.sequence:
            self._refuse_unknown(candidate, "the old catalogue's proven map")
            return None
        return value.state

    def _refuse_unknown(self, candidate: Candidate, by: str) -> None:
        self._not_taken(
            candidate,
            CatalogueTamperedError.code,
            f"It is genuine, and {by} does not know it.",
            "find out who signed it: whoever did has the store key.",
        )

    def _contradict(self, candidate: Candidate, other: str, statement: str) -> None:
        self.conflicts.append(
            f"{candidate.ref}: {candidate.where} has statement {candidate.verified.digest}, and"
            f" {other} has {statement}"
        )

    def _not_taken(self, candidate: Candidate, code: str, text: str, hint: str) -> None:
        self.report.lose(str(candidate.ref), code, f"{candidate.where}: {text}", hint)

    # ── contradictions ───────────────────────────────────────────────────────

    def require_alone(self, first: Candidate, second: Candidate) -> None:
        """Note that two statements claim one place in the history."""
        if first is not second:
            self._conflict(f"place {first.sequence} of the history", first, second)

    def require_order(self, stores: dict[int, Candidate]) -> None:
        """Note where a tag's revisions do not follow each other in the history."""
        newest: dict[tuple[str, str], int] = {}
        for artifact in (*self.contents.stored.values(), *self.contents.removed.values()):
            where = artifact.name, artifact.tag
            newest[where] = max(artifact.revision, newest.get(where, 0))
        for sequence in sorted(stores):
            ref = stores[sequence].ref
            where, revision = (str(ref.name), str(ref.tag)), ref.revision or 0
            if revision <= newest.get(where, 0):
                self.conflicts.append(f"{ref}: stored after a later revision of its tag")
            newest[where] = max(revision, newest.get(where, 0))

    def require_no_conflict(self) -> None:
        """Return if nothing contradicts anything.

        Raises:
            RebuildRefusedError: something does; every contradiction is shown.
        """
        if not self.conflicts:
            return
        told = "; ".join(self.conflicts[:_SHOWN_CONFLICTS])
        more = len(self.conflicts) - _SHOWN_CONFLICTS
        raise RebuildRefusedError(
            f"Signed statements contradict each other: {told}{f'; and {more} more' * (more > 0)}.",
            hint="whoever signed both has the store key. Find out which one is right, and move the"
            " file of the other out of the repository.",
        )

    def _conflict(self, what: str, first: Candidate, second: Candidate) -> None:
        self.conflicts.append(
            f"{what}: {first.where} has statement {first.verified.digest} of {first.ref}, and"
            f" {second.where} has {second.verified.digest} of {second.ref}"
        )
