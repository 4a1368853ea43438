"""Going through every row of the catalogue, whatever was done to the rows."""

from __future__ import annotations

from collections.abc import Iterator

from sealstore import limits
from sealstore.errors import CatalogueTamperedError
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue import ArtifactRow, ListFilter


def walk_rows(
    repository: Repository,
    conditions: ListFilter | None = None,
    *,
    limit: int | None = None,
    before_sequence: int | None = None,
) -> Iterator[ArtifactRow]:
    """Every row that meets ``conditions``, unverified, the ones stored last first.

    Rows are read page by page: what is stored while this runs is not among them, what is removed
    may or may not be.

    Args:
        repository: whose catalogue.
        conditions: which rows; all by default.
        limit: how many at most; all by default.
        before_sequence: only rows stored before this sequence.

    Raises:
        CatalogueError: the database failed.
        CatalogueTamperedError: the rows' sequences are no descending numbers, so that the rest
            cannot be found by them.
    """
    wanted = conditions or ListFilter()
    left = limit
    cursor = before_sequence
    while left is None or left > 0:
        page = limits.MAX_LIST_ROWS if left is None else min(left, limits.MAX_LIST_ROWS)
        rows = repository.catalogue.list_rows(wanted, limit=page, before_sequence=cursor)
        yield from rows
        if len(rows) < page:
            return
        if left is not None:
            left -= len(rows)
        cursor = _next_cursor(rows[-1].sequence, cursor)


def _next_cursor(sequence: object, cursor: int | None) -> int:
    # SQLite keeps values of any type in any column: a cursor that does not descend would let a
    # walk go on for ever, or end early and look complete.
    if type(sequence) is not int or (cursor is not None and sequence >= cursor):
        raise CatalogueTamperedError(
            "Rows of the catalogue have sequences that are no descending numbers; the rows behind"
            " them cannot be reached."
        )
    return sequence
