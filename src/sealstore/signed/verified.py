"""Values that exist only where they were verified: the type is the proof that somebody checked.

A function that needs a verified thing asks for its class. Only the function that verifies it makes
one, as its last step, and it is never changed afterwards::

    class VerifiedHead(Verified, comes_from="ledger.open_head"):
        __slots__ = ("head", "key_id")

    return make_verified(VerifiedHead, head=head, key_id=key_id)

That keeps an honest caller from building one by mistake. Code that means to cheat runs in this
process, and could change the check itself.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

_Verified = TypeVar("_Verified", bound="Verified")


class Verified:
    """The base of these classes; each names its fields in ``__slots__``.

    Args:
        comes_from: the function that verifies one, for people.
    """

    __slots__ = ()
    _comes_from: ClassVar[str]

    def __init_subclass__(cls, *, comes_from: str) -> None:
        super().__init_subclass__()
        cls._comes_from = comes_from

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError(f"A {type(self).__name__} comes out of {self._comes_from} only.")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"A {type(self).__name__} does not change.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"A {type(self).__name__} does not change.")


def make_verified(kind: type[_Verified], **fields: object) -> _Verified:
    """A value of this kind; for the function that has just verified it, and no other.

    Args:
        kind: its class.
        fields: all of its fields.
    """
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made
