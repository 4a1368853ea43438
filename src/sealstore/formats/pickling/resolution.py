"""The imports of a payload: as they are signed, and as a load resolves exactly these.

Hazardous on purpose: this is the one place where what a payload names is really imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from sealstore.errors import UnsignedImportError
from sealstore.formats.pickling.inspection import Inspection
from sealstore.formats.pickling.refusals import refused
from sealstore.signed.statement import Import, ImportUse


def imports_to_sign(inspection: Inspection) -> tuple[Import, ...]:
    """What an inspection found, as a statement lists it.

    Raises:
        PayloadFormatError: the inspection has findings, for which the payload is refused.
    """
    for finding in inspection.findings:
        raise refused(finding.reason, finding.text)
    return tuple(
        Import(
            name=found.name,
            uses=tuple(ImportUse(use.use.value, use.arguments) for use in found.uses),
        )
        for found in inspection.imports
    )


class SignedImports:
    """The ``find_class`` of a load.

    Args:
        names: the ``module:qualname`` of every import that the statement lists.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def resolve(self, module: str, qualname: str) -> object:
        """What ``module`` and ``qualname`` stand for.

        Raises:
            UnsignedImportError: the statement does not list it.
            Exception: whatever importing it raises.
        """
        if f"{module}:{qualname}" not in self._names:
            raise UnsignedImportError(
                "The payload asked for an import that its signed statement does not list."
            )
        __import__(module)
        found: object = sys.modules[module]
        for part in qualname.split("."):
            found = getattr(found, part)
        return found
