"""What the map should say, from the history alone; and whether it does.

The head's signature covers both, so they can only differ where a holder of the signing key, or a
fault of sealstore itself, made them so. Nobody else's check would notice: a load asks the map.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec

from sealstore import limits
from sealstore.audit.findings import Findings
from sealstore.errors import (
    CatalogueTamperedError,
    InvalidNameError,
    LedgerFormatError,
    SealstoreError,
)
from sealstore.ledger.alias_names import AliasName, alias_key
from sealstore.ledger.authenticated_map import map_key, revision_key
from sealstore.ledger.entries import EntryArtifact
from sealstore.ledger.history import HistoryEntry
from sealstore.ledger.map_update import encode_value, verified_records
from sealstore.ledger.map_values import (
    AliasValue,
    LatestValue,
    PreviousLatest,
    RevisionValue,
    SegmentValue,
    TagValue,
)
from sealstore.names import LATEST, Name, Tag
from sealstore.repository.history_entries import REBUILT
from sealstore.storage.catalogue.map_rows import MapRows

Value = SegmentValue | RevisionValue | AliasName

_ROWS_A_FETCH: Final = 500
"""Rows of the map: with 10,000,000 names some 12 MiB."""
_FIRST_POSITIONS: Final = (0, 1, 65, 4161)
"""Of the map's levels: see ``ledger.authenticated_map``."""
_COMPARED_BYTES: Final = 16
"""Of a value's SHA-256: what is compared was signed, so that nobody looks for collisions."""


@dataclass(slots=True)
class _Revision:
    statement: bytes
    sequence: int
    previous: tuple[str, int] | None
    is_removed: bool = False


@dataclass(slots=True)
class _Name:
    """What the history says of one name."""

    tags: dict[str, list[_Revision | None]] = field(default_factory=dict)
    aliases: dict[str, AliasValue] = field(default_factory=dict)
    latest: tuple[str, int] | None = None


class Replay:
    """The history, entry by entry, as what the map should say.

    It takes about 1 kB of memory for each artifact that was ever stored.
    """

    def __init__(self) -> None:
        # Told only if the history turns out to be the signed one: without an entry that somebody
        # took out, the next ones make no sense.
        self._impossible: list[tuple[int, str]] = []
        self._names: dict[str, _Name] = {}
        self.has_aliases = False

    def hear(self, entry: HistoryEntry) -> None:
        """Take note of the next entry."""
        artifact = entry.artifact
        if entry.event == "alias":
            self._move_alias(entry)
        elif artifact is not None and entry.event == "store":
            self._store(entry, artifact)
        elif artifact is not None and entry.event == "remove":
            self._remove(entry.sequence, artifact)

    # ── events ───────────────────────────────────────────────────────────────

    def _store(self, entry: HistoryEntry, artifact: EntryArtifact) -> None:
        sequence = entry.sequence
        name = self._names.setdefault(artifact.name, _Name())
        revisions = name.tags.setdefault(artifact.tag, [])
        if entry.details.get(REBUILT) is True and artifact.revision > len(revisions):
            # What a rebuild could not recover: revisions that were given out, and mean nothing.
            revisions += [None] * (artifact.revision - len(revisions) - 1)
        if artifact.revision != len(revisions) + 1:
            what = f"stored as another revision than its tag's next, {len(revisions) + 1}"
            self._impossible.append((sequence, f"{_shown(artifact)} was {what}."))
            return
        statement = bytes.fromhex(artifact.statement)
        revisions.append(_Revision(statement, sequence, name.latest))
        name.latest = (artifact.tag, artifact.revision)

    def _remove(self, sequence: int, artifact: EntryArtifact) -> None:
        name = self._names.get(artifact.name, _Name())
        revisions = name.tags.get(artifact.tag, [])
        number = artifact.revision
        found = revisions[number - 1] if number <= len(revisions) else None
        if found is None or found.is_removed or found.statement.hex() != artifact.statement:
            what = f"{_shown(artifact)} was removed, and had not been there."
            self._impossible.append((sequence, what))
            return
        found.is_removed = True
        while name.latest is not None:
            tag, revision = name.latest
            last = name.tags[tag][revision - 1]
            if last is None or not last.is_removed:
                return
            name.latest = last.previous

    def _move_alias(self, entry: HistoryEntry) -> None:
        self.has_aliases = True
        details = entry.details
        name, alias = _text(details.get("name")), _text(details.get("alias"))
        tag, revision, statement = (details.get(at) for at in ("tag", "revision", "statement"))
        try:
            known = self._names.setdefault(Name(name), _Name()).aliases
            before = known.get(Tag.to_store(alias))
            # Whether a move was one by the rules is for ``audit_aliases`` to say.
            known[alias] = msgspec.convert(
                {
                    "kind": "alias",
                    "tag": tag,
                    "revision": revision,
                    "statement": statement,
                    "move": 1 if before is None else before.move + 1,
                },
                AliasValue,
            )
        except (InvalidNameError, LedgerFormatError, msgspec.ValidationError):
            what = "An alias was moved, and what the entry says of it is invalid."
            self._impossible.append((entry.sequence, what))

    # ── the map ──────────────────────────────────────────────────────────────

    def compare(self, root: bytes, rows: MapRows, findings: Findings) -> int:
        """Say what no honest change would have made, and where the map is not what it should be.

        Args:
            root: the map's, of a verified head.
            rows: of the map; none of them is believed.
            findings: where to say it.

        Returns:
            How many records the map has.
        """
        for sequence, message in self._impossible:
            findings.add_tampered(message, sequence)
        expected = {
            sha256(key).digest(): _digest(encode_value(value)) for _, key, value in self._values()
        }
        count = 0
        others: set[bytes] = set()
        unexplained = 0
        windows = _Windows(rows)
        try:
            for key_hash, value in verified_records(root, windows):
                count += 1
                wanted = expected.pop(key_hash, None)
                if wanted is None:
                    unexplained += 1
                elif wanted != _digest(value):
                    others.add(key_hash)
        except CatalogueTamperedError as error:
            # What is not there is not what the history makes it, either; but this is the reason.
            findings.add(error)
            return count
        for disagreement in self._disagreements(others, set(expected), unexplained):
            findings.add(disagreement)
        if rows.count() != windows.given:
            # Where the map has nothing, a change that comes there would refuse what is stored.
            findings.add(_spare_rows(rows.count() - windows.given))
        return count

    def _disagreements(
        self, others: set[bytes], missing: set[bytes], unexplained: int
    ) -> Iterator[SealstoreError]:
        if others or missing:
            for shown, key, _ in self._values():
                key_hash = sha256(key).digest()
                if key_hash in others:
                    yield _disagreement(f"The map says something else of {shown}")
                elif key_hash in missing:
                    yield _disagreement(f"The map says nothing of {shown}")
        if unexplained:
            what = "record" if unexplained == 1 else "records"
            yield _disagreement(f"The map has {unexplained} {what} that nothing was stored for")

    def _values(self) -> Iterator[tuple[str, bytes, Value]]:
        """Every record that the map should have: what it is about, its key, its value."""
        for name, known in self._names.items():
            for tag, revisions in known.tags.items():
                yield f"{name}:{tag}", map_key(name, tag), _tag_value(revisions)
                for number, revision in enumerate(revisions, start=1):
                    if revision is None:
                        continue
                    shown = f"{name}:{tag}@{number}"
                    yield shown, revision_key(name, tag, number), _revision_value(revision)
            if known.tags:
                yield f"{name}:{LATEST}", map_key(name, LATEST), _latest_value(known)
            for number, (alias, value) in enumerate(known.aliases.items(), start=1):
                yield f"{name}:{alias}", map_key(name, alias), value
                shown = f"the alias {number} of {name}"
                yield shown, alias_key(name, number), AliasName(alias=alias)


def _text(detail: object) -> str:
    # No name and no tag is empty.
    return detail if isinstance(detail, str) else ""


def _tag_value(revisions: list[_Revision | None]) -> TagValue:
    for number in range(len(revisions), 0, -1):
        newest = revisions[number - 1]
        if newest is not None and not newest.is_removed:
            statement = newest.statement.hex()
            return TagValue(revision=number, highest=len(revisions), statement=statement)
    return TagValue(revision=None, highest=max(1, len(revisions)), statement=None)


def _revision_value(revision: _Revision) -> RevisionValue:
    previous = None
    if revision.previous is not None:
        previous = PreviousLatest(tag=revision.previous[0], revision=revision.previous[1])
    return RevisionValue(
        state="removed" if revision.is_removed else "stored",
        statement=revision.statement.hex(),
        sequence=revision.sequence,
        previous=previous,
    )


def _latest_value(name: _Name) -> LatestValue:
    if name.latest is None:
        return LatestValue(tag=None, revision=None, statement=None)
    tag, revision = name.latest
    last = name.tags[tag][revision - 1]
    statement = None if last is None else last.statement.hex()
    return LatestValue(tag=tag, revision=revision, statement=statement)


def _digest(value: bytes) -> bytes:
    return sha256(value).digest()[:_COMPARED_BYTES]


def _shown(artifact: EntryArtifact) -> str:
    return f"{artifact.name}:{artifact.tag}@{artifact.revision}"


def _disagreement(what: str) -> SealstoreError:
    return CatalogueTamperedError(
        f"{what}: history and map, both signed, do not agree.",
        hint="whoever signed the head has the signing key: find out which of the two is right;"
        " 'sealstore rebuild' makes the map again from the statements.",
    )


def _spare_rows(count: int) -> SealstoreError:
    return CatalogueTamperedError(
        f"The map has {count} stored {'row' if count == 1 else 'rows'} that no record is in.",
        hint="find out who wrote to the catalogue, then restore it from a backup.",
    )


class _Windows(Mapping[int, bytes]):
    """The map's rows for a walk downwards: of each level some are fetched together, and forgotten.

    Attributes:
        given: how many stored rows were asked for.
    """

    def __init__(self, rows: MapRows) -> None:
        self.given = 0
        self._rows = rows
        self._windows: dict[int, tuple[range, dict[int, bytes | None]]] = {}

    def __getitem__(self, position: int) -> bytes:
        # A walk asks for the rows of a level in their order.
        level = bisect_right(_FIRST_POSITIONS, position)
        window = self._windows.get(level)
        if window is None or position not in window[0]:
            found = self._rows.following(position, limit=_ROWS_A_FETCH)
            last = found[-1][0] if len(found) == _ROWS_A_FETCH else limits.MAX_SEQUENCE
            window = (range(position, last + 1), dict(found))
            self._windows[level] = window
        content = window[1][position]
        self.given += 1
        if content is None:
            # No hash is that of what is no bytes: as good as not there.
            raise KeyError(position)
        return content

    def __iter__(self) -> Iterator[int]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError
