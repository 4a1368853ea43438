"""Listing, history and removing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealstore.errors import (
    ArtifactNotFound,
    NoSigningKeyError,
    ReservedTagError,
)
from sealstore.keys.keyring import State
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue.listing import ListFilter
from tests.sealstore_fixtures import (
    hmac_key,
)

MODEL = {"weights": [0.5, 1.5], "name": "a model"}


def test_a_listing_shows_verified_artifacts_page_by_page(repository: Repository) -> None:
    """Newest first, without gap or overlap, until there is no next page."""
    for number in range(7):
        repository.store(number, f"m{number % 2}", "a", metadata={"number": number})
    pages, after = [], None
    while True:
        page = repository.list(limit=3, after=after)
        pages.append([artifact.metadata["number"] for artifact in page.artifacts])
        after = page.next_cursor
        if after is None:
            break
    assert pages == [[6, 5, 4], [3, 2, 1], [0]]
    assert len(repository.list(name="m0").artifacts) == 4
    newest = repository.list(ListFilter(name="m0"), newest_only=True).artifacts
    assert [artifact.revision for artifact in newest] == [4]
    assert repository.list(limit=0).next_cursor is None
    with pytest.raises(TypeError):
        repository.list(nonsense=1)


def test_an_exact_page_has_a_next_one_that_may_be_empty(repository: Repository) -> None:
    """A full page tells where to go on."""
    for number in range(2):
        repository.store(number, "m", "a")
    page = repository.list(limit=2)
    assert page.next_cursor is not None
    assert repository.list(limit=2, after=page.next_cursor).artifacts == []


def test_the_history_tells_every_change(repository: Repository) -> None:
    """Who did what to which artifact, newest first; removed artifacts stay in it."""
    repository.store(1, "m", "a", actor="job 1")
    repository.store(2, "m", "a")
    repository.remove("m", "a", revision=1, actor="cleaner")
    repository.store(3, "n", "a")
    told = []
    for entry in repository.history():
        about = entry.artifact
        told.append((entry.event, about and about.name, about and about.revision))
    assert told == [
        ("store", "n", 1),
        ("remove", "m", 1),
        ("store", "m", 2),
        ("store", "m", 1),
        ("create", None, None),
    ]
    assert [entry.by.actor for entry in repository.history("m", limit=1)] == ["cleaner"]
    assert len(repository.history("m", "a", after=4)) == 2


# ── removing ─────────────────────────────────────────────────────────────────


@pytest.mark.invariant(3)
def test_removed_revisions_are_gone_and_their_numbers_too(repository: Repository) -> None:
    """One revision, then all; no number is given out twice."""
    for number in (1, 2, 3):
        repository.store(number, "m", "a")
    assert [str(ref) for ref in repository.remove("m", "a", revision=3)] == ["m:a@3"]
    assert repository.load("m", "a") == 2
    assert repository.load("m") == 2
    with pytest.raises(ArtifactNotFound):
        repository.load("m", "a", revision=3)
    assert repository.store(4, "m", "a").revision == 4
    assert [ref.revision for ref in repository.remove("m", "a")] == [1, 2, 4]
    with pytest.raises(ArtifactNotFound):
        repository.load("m")
    assert repository.store(5, "m", "a").revision == 5


def test_what_is_not_there_cannot_be_removed(repository: Repository) -> None:
    """Nor can 'latest', which is nobody's own tag."""
    repository.store(1, "m", "a")
    for tag, revision in (("b", None), ("a", 2)):
        with pytest.raises(ArtifactNotFound):
            repository.remove("m", tag, revision=revision)
    with pytest.raises(ReservedTagError):
        repository.remove("m", "latest")
    assert repository.load("m", "a") == 1


@pytest.mark.invariant(4)
def test_removing_needs_a_key_that_may_store_here(
    repository: Repository, reopen: Callable[..., Repository]
) -> None:
    """Who may only read cannot take anything away."""
    repository.store(1, "m", "a")
    with pytest.raises(NoSigningKeyError):
        reopen(hmac_key(state=State.RETIRED)).remove("m", "a")
    assert repository.load("m", "a") == 1
