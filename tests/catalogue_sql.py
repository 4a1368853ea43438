"""Statements of the tests' own, run on the catalogue's connections of either database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection

from sealstore.storage.catalogue.contract import Engine
from sealstore.storage.catalogue.migrations import for_alembic


def run_in(engine: Engine, statement: str, **values: object) -> list[Any]:
    """What a statement gives, whatever the schema is; a change of it is committed."""
    with engine.writing(any_schema=True) as connection:
        return list(connection.execute(statement, values).fetchall())


@contextmanager
def by_sqlalchemy(engine: Engine) -> Iterator[Connection]:
    """A connection of SQLAlchemy's, in a transaction on any schema."""
    with engine.writing(any_schema=True) as connection, for_alembic(connection) as theirs:
        yield theirs
