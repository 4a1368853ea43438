"""Which aliases a name has, or had: they are numbered from 1, so that all of them are found."""

from __future__ import annotations

from typing import Final

import msgspec

from sealstore import limits
from sealstore.errors import InvalidNameError
from sealstore.ledger.authenticated_map import checked_name
from sealstore.ledger.documents import decode_document, require_stored_tag
from sealstore.ledger.map_values import MapValue


class AliasName(MapValue, frozen=True, kw_only=True, tag="alias-name"):
    """That a name has an alias, or had it: what it means stands under the alias itself.

    Raises:
        LedgerFormatError: it is none.
    """

    alias: str

    def __post_init__(self) -> None:
        require_stored_tag(self.alias)


_decoder: Final = msgspec.json.Decoder(AliasName)


def alias_key(name: str, number: int) -> bytes:
    """The key of the ``number``th alias that a name ever had, from 1.

    Raises:
        InvalidNameError: not a name, and a number from 1 on.
    """
    if type(number) is not int or not 1 <= number <= limits.MAX_ALIASES:
        raise InvalidNameError(f"A name's aliases are numbered from 1 to {limits.MAX_ALIASES}.")
    return b"alias\0%b\0%d" % (checked_name(name).encode(), number)


def decode_alias_name(data: bytes) -> AliasName:
    """The value that ``data`` is, under the key of a name's alias by its number.

    Raises:
        LedgerFormatError: any other bytes.
    """
    return decode_document(data, _decoder, limits.MAX_MAP_VALUE_BYTES, "map's value")
