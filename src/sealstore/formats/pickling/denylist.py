"""What every policy calls dangerous: read where a policy judges, and not where all is trusted.

``denylist.json`` beside this module is written by hand, one line an entry, each with its reason.
"""

from __future__ import annotations

import functools
import sys

import msgspec

from sealstore.formats.pickling.allowlist import allowlist, read_list


class Denylist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``denylist.json`` says.

    Attributes:
        format: 1.
        modules: why a module, with everything beneath it, is dangerous.
        names: why a name, or one use of it (``numpy:memmap called``), is dangerous.
    """

    format: int
    modules: dict[str, str]
    names: dict[str, str]

    def denial(self, name: str, use: str) -> str | None:
        """Why ``name`` is dangerous in any policy, None where it isn't listed as such."""
        reason = self.names.get(name) or self.names.get(f"{name} {use}")
        if reason is not None:
            return reason
        module = name.partition(":")[0]
        while module:
            reason = self.modules.get(module)
            if reason is not None:
                return reason
            module = module.rpartition(".")[0]
        return None


@functools.cache
def denylist() -> Denylist:
    """The list, read the first time."""
    return read_list("denylist.json", Denylist)


@functools.cache
def covered_modules() -> frozenset[str]:
    """Top-level modules of which every name that is not trusted is dangerous."""
    return allowlist().covered | sys.stdlib_module_names


def is_covered(name: str) -> bool:
    """Whether ``name`` is of the standard library or of a package on the allowlist."""
    return name.partition(":")[0].partition(".")[0] in covered_modules()
