"""A matrix as one test: each of its rows is tried, and all that fail are named.

``pytest.mark.parametrize`` makes each row a test, with an id, fixtures and reports of its own.
Where a row is a value and what comes of it, that takes longer than looking at it, in every worker.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pytest
from _pytest.mark import ParameterSet

Row = TypeVar("Row")
Test = Callable[..., None]
_FAILED = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""What a row can end with; a row that skips itself was not tried, so it failed."""


def try_each(rows: Iterable[tuple[str, Row]], look: Callable[[Row], None]) -> None:
    """Look at each of these named rows, however many of them fail.

    Raises:
        BaseExceptionGroup: some failed; with their names, and what each raised.
    """
    failures: dict[str, BaseException] = {}
    tried = 0
    for name, row in rows:
        tried += 1
        try:
            look(row)
        except _FAILED as error:
            error.add_note(f"row: {name}")
            failures[f"{len(failures)}. {name}"] = error
    if failures:
        raise BaseExceptionGroup(
            f"{len(failures)} of {tried} rows failed: {'; '.join(failures)}",
            list(failures.values()),
        )
    assert tried, "without rows, nothing was tried"


def each_row(
    names: str | Sequence[str],
    rows: Iterable[Any],
    *,
    ids: Iterable[str] | Callable[[Any], object] = repr,
) -> Callable[[Test], Test]:
    """Let one test try each row; written like ``pytest.mark.parametrize``, and stacked like it.

    A row that fails does not keep the others from being tried. Fixtures are made once and shared by
    all rows: what a row changes must be its own.

    Args:
        names: of the test's parameters that a row gives: one, or several as a tuple.
        rows: a value for each row, or a tuple of as many as there are names.
        ids: what the rows are called, or what calls a value.

    Raises:
        ValueError: there are no rows, so that nothing would be tried.
    """
    table = _named(names, list(rows), ids if callable(ids) else list(ids))
    if not table:
        raise ValueError("a matrix without rows shows nothing")

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def every_row(**fixtures: Any) -> None:
            try_each(table, lambda values: test(**fixtures, **values))

        signature = inspect.signature(test)
        given = table[0][1]
        fixtures = [each for each in signature.parameters.values() if each.name not in given]
        vars(every_row)["__signature__"] = signature.replace(parameters=fixtures)
        return every_row

    return decorate


def _named(
    names: str | Sequence[str],
    rows: Sequence[Any],
    ids: Sequence[str] | Callable[[Any], object],
) -> list[tuple[str, dict[str, Any]]]:
    """The name of each row, and its values by the name of their parameter."""
    table = []
    for number, row in enumerate(rows):
        chosen = None
        if isinstance(row, ParameterSet):
            assert not row.marks, "a mark is a test's, not a row's"
            values, chosen = row.values, row.id
        else:
            values = (row,) if isinstance(names, str) else tuple(row)
        if not callable(ids):
            chosen = chosen or ids[number]
        elif chosen is None:
            chosen = ", ".join(str(ids(value))[:200] for value in values)
        given = (names,) if isinstance(names, str) else names
        table.append((str(chosen), dict(zip(given, values, strict=True))))
    if not callable(ids):
        assert len(ids) == len(rows), "each row has its name"
    return table
