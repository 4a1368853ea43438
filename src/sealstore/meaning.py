"""What a change of an artifact does to the map: of its tag, revision and latest."""

from __future__ import annotations

from sealstore.errors import AliasInTheWayError, CatalogueTamperedError
from sealstore.ledger import (
    AliasValue,
    LatestValue,
    PreviousLatest,
    RevisionValue,
    TagValue,
)
from sealstore.names import LATEST_TAG, Name, Tag
from sealstore.recording import Change


def tag_value(made: Change, name: Name, tag: Tag) -> TagValue | None:
    """What a tag means now; None where nothing was ever stored under it.

    Raises:
        AliasInTheWayError: it is an alias.
        CatalogueTamperedError: the map proves nothing.
    """
    value = made.segment(name, tag)
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
