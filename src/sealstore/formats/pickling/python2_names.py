"""Python 2's names in Python 3's words, as the unpickler itself maps them.

Protocols 0 to 2 name modules as Python 2 did (PEP 3108): ``__builtin__``, ``copy_reg``. Names are
mapped before anything judges them, by the standard library's own table.
"""

from __future__ import annotations

import _compat_pickle
from typing import Final

FIRST_PROTOCOL_OF_PYTHON_3: Final = 3


def canonical_name(module: str, qualname: str) -> tuple[str, str]:
    """The name that Python 3 imports where a stream of protocol 0, 1 or 2 says this one."""
    mapped: tuple[str, str] | None = _compat_pickle.NAME_MAPPING.get((module, qualname))
    if mapped is not None:
        return mapped
    return _compat_pickle.IMPORT_MAPPING.get(module, module), qualname
