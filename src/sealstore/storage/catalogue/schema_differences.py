"""How a schema differs from the shipped one, on either database, in the words of the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sealstore.errors import CatalogueTamperedError, SchemaVersionError, printable
from sealstore.storage.catalogue import schema

Schema = Mapping[tuple[str, str], str]
"""What a database consists of: the definition of each object by its kind and name."""

_SHOWN_DIFFERENCES: Final = 3
_SHOWN_CHARACTERS: Final = 64
_KINDS: Final = (
    "trigger", "rule", "view", "table", "inheritance", "column", "constraint", "index",
)  # fmt: skip
"""What there can be, the worst first."""


def require_equal(expected: Schema, found: Schema, read_revision: Callable[[], object]) -> None:
    """Return if the definitions that were found are the expected ones, all of them.

    Raises:
        SchemaVersionError, CatalogueTamperedError: as ``schema.require_checked_sqlite``.
    """
    versions = {key: text for key, text in expected.items() if key[1].startswith("alembic_version")}
    # Whoever migrates changes both, so the revision is the first thing to look at; where it stands
    # must itself be as shipped.
    if all(found.get(key) == text for key, text in versions.items()):
        require_current_revision(read_revision())
    elif not any(key in found for key in expected if key[0] == "table" and key not in versions):
        require_current_revision(None)
    if expected == found:
        return
    different = sorted(
        (key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)),
        key=lambda key: (_KINDS.index(key[0]) if key[0] in _KINDS else -1, key),
    )
    faults = [_fault(*key, expected.get(key), found.get(key)) for key in different]
    more = len(faults) - _SHOWN_DIFFERENCES
    raise tampered(
        ", ".join(faults[:_SHOWN_DIFFERENCES]) + (f", and {more} more differences" * (more > 0))
    )


def _fault(kind: str, name: str, expected: str | None, found: str | None) -> str:
    what = "is not as shipped"
    if expected is None:
        what = "does not belong there"
    elif found is None:
        what = "is missing"
    # Whoever planted it chose the name, and of SQLite's the kind.
    shown = printable(name[:_SHOWN_CHARACTERS])
    return f"{kind if kind in _KINDS else 'object'} '{shown}' {what}"


def tampered(what: str) -> CatalogueTamperedError:
    """The refusal of a schema.

    Args:
        what: is wrong with it.
    """
    return CatalogueTamperedError(
        f"The database's schema is not the one that sealstore makes: {what}.",
        hint="find out who changed the database, and what it did to what was stored since; then"
        " restore it from a backup.",
    )


def require_current_revision(revision: object) -> None:
    """Return if ``revision``, as the database has it, is that of this release's schema.

    Raises:
        SchemaVersionError: it is older, newer, or there is none.
    """
    if revision == schema.SCHEMA_REVISIONS[-1]:
        return
    if revision is None:
        raise SchemaVersionError(
            "The catalogue's database has no tables.",
            hint="restore it from a backup; MODEL_REPO_DATABASE_URL may name another database.",
        )
    if revision in schema.SCHEMA_REVISIONS:
        raise SchemaVersionError(
            f"The catalogue has the older schema {revision}.",
            hint="back it up, then run 'sealstore migrate'.",
        )
    raise SchemaVersionError(
        "The catalogue has a newer schema than this release of sealstore knows.",
        hint="install the release of sealstore that wrote it, or a newer one.",
    )
