"""Which formats this release knows, by the name that a statement gives."""

from __future__ import annotations

from sealstore.errors import UnknownFormatError
from sealstore.formats.contract import Format
from sealstore.formats.joblib_format import JoblibFormat

_FORMATS: dict[str, Format] = {JoblibFormat.name: JoblibFormat()}


def format_named(name: str) -> Format:
    """The format that a statement names.

    Raises:
        UnknownFormatError: there is none of that name.
    """
    try:
        return _FORMATS[name]
    except KeyError:
        raise UnknownFormatError(
            f"No format {name!r} is known to this release.", hint="install a newer release."
        ) from None
