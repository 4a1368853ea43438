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
_SHOWN: Final = 10


def refuse_unportable(imports: Iterable[str]) -> None:
    """Return if other processes can import ``imports``; warn of those that only some can.

    Args:
        imports: what loading an object would import, each as ``module:qualname``.

    Raises:
        ComponentClassError: one is the code of a hetida designer component, which exists only in
            processes that have run that very code.
    """
    names = set(imports)
    tops = {name.partition(":")[0].partition(".")[0] for name in names}
    if _COMPONENT_MODULES in tops:
        raise ComponentClassError(
            "The object uses a class or function that a hetida designer component defined; another"
            " process could not load it."
        )
    of_the_script = sorted(
        name.partition(":")[2] for name in names if name.partition(":")[0] == "__main__"
    )
    if of_the_script:
        shown = ", ".join(of_the_script[:_SHOWN]) + (" …" if len(of_the_script) > _SHOWN else "")
        warn_caller(
            f"The object uses names of __main__: {shown}. Only the same script can load it. Move"
            " them to a module that whoever loads it can import, and store the object again.",
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
