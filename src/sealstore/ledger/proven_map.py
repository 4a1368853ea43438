"""What the map says, proven against a verified head, one question at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Protocol

from sealstore.ledger.alias_names import AliasName, alias_key, decode_alias_name
from sealstore.ledger.authenticated_map import map_key, positions_of, prove, revision_key
from sealstore.ledger.map_values import RevisionValue, SegmentValue, decode_revision, decode_segment
from sealstore.names import Name, Tag


class MapAnswers(ABC):
    """What answers from the map: of a snapshot, or of a change that is being made."""

    def segment(self, name: Name, tag: Tag) -> SegmentValue | None:
        """What the map says of a name with a tag, an alias or ``latest``.

        Raises:
            CatalogueTamperedError: the rows do not prove an answer.
        """
        value = self._value(map_key(name, tag))
        return None if value is None else decode_segment(tag, value)

    def revision(self, name: Name, tag: Tag, revision: int) -> RevisionValue | None:
        """What the map says of one revision.

        Raises:
            CatalogueTamperedError: the rows do not prove an answer.
        """
        value = self._value(revision_key(name, tag, revision))
        return None if value is None else decode_revision(value)

    def alias_name(self, name: Name, number: int) -> AliasName | None:
        """Which alias of a name has this number, from 1.

        Raises:
            CatalogueTamperedError: the rows do not prove an answer.
        """
        value = self._value(alias_key(name, number))
        return None if value is None else decode_alias_name(value)

    @abstractmethod
    def _value(self, key: bytes) -> bytes | None:
        """The value under a key, proven; None where there is none."""


class StoredRows(Protocol):
    """The map's rows, as ``catalogue.MapRows`` gives them."""

    def fetch(self, positions: Collection[int]) -> Mapping[int, bytes]:
        """The contents of the rows at ``positions`` that are there."""
        ...


class ProvenMap(MapAnswers):
    """The map of a verified head, over rows that are not believed.

    Args:
        map_root: of the head, hexadecimal.
        rows: where rows come from.
    """

    def __init__(self, map_root: str, rows: StoredRows) -> None:
        self._root = bytes.fromhex(map_root)
        self._rows = rows

    def _value(self, key: bytes) -> bytes | None:
        return prove(self._root, key, self._rows.fetch(positions_of(key)))
