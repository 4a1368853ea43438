"""What a change does to the map: to what a tag, a revision, the latest and an alias mean."""

from __future__ import annotations

from collections.abc import Iterator

from sealstore import limits
from sealstore.errors import (
    AliasInTheWayError,
    ArtifactNotFound,
    CatalogueTamperedError,
    UsageError,
)
from sealstore.ledger.map_values import (
    AliasValue,
    LatestValue,
    PreviousLatest,
    RevisionValue,
    TagValue,
)
from sealstore.ledger.proven_map import MapAnswers
from sealstore.names import LATEST_TAG, Name, Tag
from sealstore.repository.recording import Change
from sealstore.signed.approval import AliasTarget

# ── tags and revisions ───────────────────────────────────────────────────────


def tag_value(answers: MapAnswers, name: Name, tag: Tag) -> TagValue | None:
    """What a tag means now; None where nothing was ever stored under it.

    Raises:
        AliasInTheWayError: it is an alias.
        CatalogueTamperedError: the map proves nothing.
    """
    value = answers.segment(name, tag)
    if isinstance(value, AliasValue):
        raise AliasInTheWayError(f"{tag} is an alias of {name}, and so cannot be a tag of it.")
    return value if isinstance(value, TagValue) else None


def note_stored(made: Change, name: Name, tag: Tag, revision: int, statement: str) -> None:
    """Let a tag, and the latest of its name, mean a revision that is stored as the next entry.

    Args:
        made: the change.
        name, tag, revision: which; the revision is the tag's next.
        statement: digest of its statement, hexadecimal.
    """
    latest = made.segment(name, LATEST_TAG)
    previous = None
    if isinstance(latest, LatestValue) and latest.tag is not None and latest.revision is not None:
        previous = PreviousLatest(tag=latest.tag, revision=latest.revision)
    stored = RevisionValue(
        state="stored", statement=statement, sequence=made.sequence, previous=previous
    )
    made.set_revision(name, tag, revision, stored)
    tagged = TagValue(revision=revision, highest=revision, statement=statement)
    made.set_segment(name, tag, tagged)
    newest = LatestValue(tag=str(tag), revision=revision, statement=statement)
    made.set_segment(name, LATEST_TAG, newest)


def note_removed(
    made: Change, name: Name, tag: Tag, revision: int, statement: str
) -> RevisionValue | None:
    """Let a revision be removed; the tag and the latest of its name mean what is left.

    Args:
        made: the change.
        name, tag, revision: which.
        statement: digest of its statement, hexadecimal; "" for any.

    Returns:
        What the map said of it; None where it was not there.
    """
    value = made.revision(name, tag, revision)
    if value is None or value.state == "removed" or statement not in ("", value.statement):
        return None
    removed = RevisionValue(
        state="removed",
        statement=value.statement,
        sequence=value.sequence,
        previous=value.previous,
    )
    made.set_revision(name, tag, revision, removed)
    made.set_segment(name, tag, _tag_after(made, name, tag))
    made.set_segment(name, LATEST_TAG, _latest_after(made, name))
    return value


def _tag_after(made: Change, name: Name, tag: Tag) -> TagValue:
    """What a tag means once a revision of it was removed: the newest that is left."""
    value = tag_value(made, name, tag)
    if value is None:
        raise CatalogueTamperedError("The map has a revision, and no tag that it is of.")
    newest = value.revision or 0
    for revision in range(newest, 0, -1):
        found = made.revision(name, tag, revision)
        if found is not None and found.state == "stored":
            return TagValue(revision=revision, highest=value.highest, statement=found.statement)
    return TagValue(revision=None, highest=value.highest, statement=None)


def _latest_after(made: Change, name: Name) -> LatestValue:
    """What was stored last of what is left, along the chain that each revision's value holds."""
    value = made.segment(name, LATEST_TAG)
    if not isinstance(value, LatestValue):
        raise CatalogueTamperedError("The map has a tag, and no latest of its name.")
    tag, revision = value.tag, value.revision
    while tag is not None and revision is not None:
        found = made.revision(name, Tag.to_store(tag), revision)
        if found is None:
            raise CatalogueTamperedError("The map names a latest that it has no revision of.")
        if found.state == "stored":
            return LatestValue(tag=tag, revision=revision, statement=found.statement)
        before = found.previous
        tag, revision = (None, None) if before is None else (before.tag, before.revision)
    return LatestValue(tag=None, revision=None, statement=None)


# ── aliases ──────────────────────────────────────────────────────────────────


def alias_value(answers: MapAnswers, name: Name, alias: Tag) -> AliasValue | None:
    """What an alias means now; None where there never was one.

    Raises:
        AliasInTheWayError: it is a tag, or was one.
        CatalogueTamperedError: the map proves nothing.
    """
    value = answers.segment(name, alias)
    if isinstance(value, TagValue):
        raise AliasInTheWayError(
            f"{alias} is a tag of {name}, or was one, and so cannot be an alias of it."
        )
    return value if isinstance(value, AliasValue) else None


def target_of(value: AliasValue | None) -> AliasTarget | None:
    """The artifact that an alias means; None where that is nothing."""
    if value is None or value.tag is None or value.revision is None or value.statement is None:
        return None
    return AliasTarget(tag=value.tag, revision=value.revision, statement=value.statement)


def aliases_of(answers: MapAnswers, name: Name) -> Iterator[tuple[Tag, AliasValue]]:
    """Every alias that a name ever had, in the order of their first moves, with what it means.

    Raises:
        CatalogueTamperedError: the map proves nothing, or names an alias that it does not have.
    """
    for number in range(1, limits.MAX_ALIASES + 1):
        known = answers.alias_name(name, number)
        if known is None:
            return
        alias = Tag.to_store(known.alias)
        value = answers.segment(name, alias)
        if not isinstance(value, AliasValue):
            raise CatalogueTamperedError("The map counts an alias that it does not have.")
        yield alias, value


def meant_revision(
    answers: MapAnswers, name: Name, tag: Tag, revision: int | None
) -> tuple[AliasTarget, RevisionValue]:
    """The artifact that an alias is to mean, and what the map says of it.

    Args:
        answers: the map.
        name, tag: which.
        revision: which of the tag; the newest that is left by default.

    Raises:
        ArtifactNotFound: there is none.
        AliasInTheWayError: the tag is an alias.
        CatalogueTamperedError: the map proves nothing.
    """
    held = tag_value(answers, name, tag)
    wanted = revision if held is None or revision is not None else held.revision
    value = None if held is None or wanted is None else answers.revision(name, tag, wanted)
    if value is None or wanted is None or value.state == "removed":
        raise ArtifactNotFound("There is no such artifact in this repository for an alias to mean.")
    return AliasTarget(tag=str(tag), revision=wanted, statement=value.statement), value


def note_moved(made: Change, name: Name, alias: Tag, target: AliasTarget | None) -> AliasValue:
    """Let an alias mean another artifact, or nothing any more.

    Returns:
        What it means now.

    Raises:
        UsageError: the name has had as many aliases as it may.
    """
    before = alias_value(made, name, alias)
    if before is None:
        count = sum(1 for _ in aliases_of(made, name))
        if count == limits.MAX_ALIASES:
            raise UsageError(
                f"{name} has had {count} aliases, as many as a name may have.",
                hint="let one that is there mean the artifact: 'sealstore alias list' shows them.",
            )
        made.set_alias_name(name, count + 1, alias)
    after = AliasValue(
        tag=None if target is None else target.tag,
        revision=None if target is None else target.revision,
        statement=None if target is None else target.statement,
        move=1 if before is None else before.move + 1,
    )
    made.set_segment(name, alias, after)
    return after
