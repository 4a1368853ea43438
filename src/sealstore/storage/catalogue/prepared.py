"""Statements of the hot paths, as SQLite's own driver takes them.

SQLAlchemy makes the text, once in a process; the driver runs it. On the way through the expression
layer a look-up takes fifteen times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement


class Prepared:
    """One statement. It is compiled when it is used for the first time.

    Args:
        statement: with a ``bindparam`` for each value that differs from use to use.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement

    @cached_property
    def text(self) -> str:
        """The statement, with a question mark for each value."""
        return str(self._compiled)

    def parameters(self, given: Mapping[str, Any]) -> list[Any]:
        """The values in the order of their places.

        Args:
            given: values by the names of their ``bindparam``.
        """
        values = {**self._constants, **given}
        return [values[name] for name in self._order]

    @cached_property
    def _order(self) -> tuple[str, ...]:
        return tuple(self._compiled.positiontup)

    @cached_property
    def _constants(self) -> dict[str, Any]:
        return dict(self._compiled.params)

    @cached_property
    def _compiled(self) -> Any:
        return self._statement.compile(dialect=sqlite.dialect())
