"""Which packages a payload needs, and whether another process can find them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final

from sealstore.errors import ComponentClassError, PortabilityWarning, warn_caller
from sealstore.repository.environment import installed_version

_COMPONENT_MODULES: Final = "hetdesrun_loaded_components"


def refuse_unportable(modules: Iterable[str]) -> None:
    """Return if other processes can import ``modules``; warn of those that only some can.

    Args:
        modules: full module names that loading an object would import.

    Raises:
        ComponentClassError: one is the code of a hetida designer component, which exists only in
            processes that have run that very code.
    """
    names = set(modules)
    if any(name.partition(".")[0] == _COMPONENT_MODULES for name in names):
        raise ComponentClassError(
            "The object uses a class or function that a hetida designer component defined; another"
            " process could not load it."
        )
    if "__main__" in names:
        warn_caller(
            "The object uses names of __main__: only the same script can load it. Define them in a"
            " module.",
            PortabilityWarning,
        )


def packages_of(modules: Iterable[str]) -> dict[str, str]:
    """The installed distributions that ``modules`` come from, with their versions, sorted.

    Args:
        modules: full module names; the standard library's are passed over.
    """
    versions: dict[str, str] = {}
    for top in {module.partition(".")[0] for module in modules}:
        if top in sys.stdlib_module_names or top == "__main__":
            continue
        for distribution in _distributions(top):
            version = installed_version(distribution)
            if version is not None:
                versions[distribution] = version
    return dict(sorted(versions.items()))


@functools.cache
def _distributions(top_level_module: str) -> tuple[str, ...]:
    return tuple(sorted(set(_all_distributions().get(top_level_module, ()))))


@functools.cache
def _all_distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
