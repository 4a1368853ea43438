"""What belongs to the process that made it: open databases, and keys."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

from sealstore.errors import NotSerialisableError


class ProcessBound:
    """Base of what is neither pickled nor copied: a copy of a key is out of its keyring's care."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse, with a TypeError: copy.copy, copy.deepcopy and every pickler ask here."""
        raise NotSerialisableError(
            f"A {type(self).__name__} is neither pickled nor copied.",
            hint="let each worker open a repository of its own: Repository.open().",
        )
