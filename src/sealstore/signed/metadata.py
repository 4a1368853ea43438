"""The user's metadata, before it is signed: a copy of what JSON carries exactly, and nothing else.

What JSON would change is refused, and the error says where it stands. The numbers and texts that
numpy has types of its own for (``numpy.float64`` and the others) are taken with their exact value;
numpy is not imported for that.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Final

from sealstore import limits
from sealstore.errors import InvalidMetadataError
from sealstore.signed.statement import encoder

_DEPTH: Final = limits.MAX_JSON_DEPTH - 2
"""Levels of metadata: two of a statement's stand above it, its own and the predicate's."""

Path = tuple[str | int, ...]
"""Where a value stands: keys of dicts, and places in lists."""


def checked_metadata(metadata: object) -> dict[str, Any]:
    """A copy of ``metadata`` if JSON carries it exactly.

    Args:
        metadata: the user's dict, or None for an empty one.

    Raises:
        InvalidMetadataError: not a dict, not exactly representable (NaN, tuples, bytes, keys that
            are no strings, integers over 64 bits), nested too deeply for a statement, or over
            ``limits.MAX_METADATA_BYTES``. It names the key.
    """
    if metadata is None:
        return {}
    if type(metadata) is not dict:
        raise InvalidMetadataError("Metadata must be a dict of JSON values.")
    # The copy: what was checked is what will be signed, whatever happens to the caller's dict.
    copied = _copied_dict(metadata, ())
    encoded = encoder.encode(copied)
    if len(encoded) > limits.MAX_METADATA_BYTES:
        raise InvalidMetadataError(
            f"Metadata has {len(encoded)} bytes as JSON; {limits.MAX_METADATA_BYTES} are allowed.",
            hint="store large things as objects of their own and keep their name here.",
        )
    return copied


def _copied_dict(given: dict[Any, Any], path: Path) -> dict[str, Any]:
    _require_shallow(path)
    return {
        (text := _copied_key(key, path)): _copied(value, (*path, text))
        for key, value in list(given.items())
    }


def _copied_key(key: object, path: Path) -> str:
    plain = _without_numpy(key, path)
    if type(plain) is not str:
        raise _refused(path, f"has the key {_shown_key(key)}; keys are strings", "write str(key)")
    _require_unicode(plain, (*path, plain))
    return plain


def _copied(given: object, path: Path) -> Any:
    plain = _without_numpy(given, path)
    kind = type(plain)
    if plain is None or kind is bool:
        return plain
    if kind is str:
        _require_unicode(plain, path)
    elif kind is float:
        if not math.isfinite(plain):
            raise _refused(
                path, f"is {plain}, which JSON has no number for", "leave it out, or write None"
            )
    elif kind is int:
        if not -(1 << 63) <= plain < 1 << 64:
            raise _refused(path, "is an integer over 64 bits", "write str(value)")
    elif kind is list:
        _require_shallow(path)
        return [_copied(each, (*path, index)) for index, each in enumerate(plain)]
    elif kind is dict:
        return _copied_dict(plain, path)
    else:
        raise _refused(path, f"is {_shown(given)}, which JSON does not know", _advice(plain))
    return plain


def _without_numpy(value: Any, path: Path) -> Any:
    """``value``; of numpy's numbers, truth values and texts the built-in one that is equal."""
    # Who has such a value has numpy loaded.
    numpy = sys.modules.get("numpy")
    scalar = getattr(numpy, "generic", None)
    if not isinstance(scalar, type) or not isinstance(value, scalar):
        return value
    given: Any = value
    if type(given).__module__ != "numpy" or given.dtype.kind not in "biufU":
        return given  # times, complex numbers, bytes and records
    if isinstance(given, str):
        return str.__getitem__(given, slice(None))  # item() drops zero characters at the end
    plain = given.item()
    if type(plain) is type(given):
        # numpy.longdouble is a number that Python's float may not be able to hold.
        plain = float(given)
        if given != plain and not math.isnan(plain):
            raise _refused(path, "is a number with more digits than JSON's have", "write float()")
    return plain


def _require_unicode(text: str, path: Path) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _refused(
            path, "holds a lone surrogate, which UTF-8 cannot carry", "write text in Unicode"
        ) from None


def _require_shallow(path: Path) -> None:
    if len(path) >= _DEPTH:
        raise InvalidMetadataError(
            "Metadata is nested too deeply.", hint=f"{_DEPTH} levels are allowed."
        )


def _advice(given: object) -> str:
    for name, advice in _ADVICE.items():
        if any(each.__name__ == name for each in type(given).__mro__):
            return advice
    return "write it as float(), int(), str() or None"


_ADVICE: Final = {
    "generic": "write it as float(), int() or str()",
    "ndarray": "write value.tolist()",
    "Series": "write value.tolist()",
    "Index": "write value.tolist()",
    "DataFrame": "store it as an object of its own, and keep its name here",
    "tuple": "write list(value)",
    "set": "write sorted(value)",
    "frozenset": "write sorted(value)",
    "dict": "write dict(value)",
    "Mapping": "write dict(value)",
    "list": "write list(value)",
    "date": "write value.isoformat()",
    "Enum": "write value.value or value.name",
    "str": "write str(value)",
    "bytes": "write value.hex()",
}
"""What to do about a value, by the name of its class or of one that it extends."""


def _shown_key(key: object) -> str:
    return repr(key)[:100] if type(key) in _SHOWN_KEYS else _shown(key)


_SHOWN_KEYS: Final = frozenset((bool, int, float, type(None), bytes))


def _shown(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"of type {module}{kind.__qualname__}"


def _refused(path: Path, what: str, advice: str) -> InvalidMetadataError:
    # A key is the user's own, and may be long.
    steps = "".join(f"[{step}]" if isinstance(step, int) else f"[{step[:100]!a}]" for step in path)
    return InvalidMetadataError(f"metadata{steps} {what}.", hint=f"{advice}.")
