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
    """The installed distributions that own ``modules``, with their versions, sorted.

    Of a namespace that several share, only those that brought the very module.

    Args:
        modules: full module names; the standard library's are passed over.
    """
    versions: dict[str, str] = {}
    for module in set(modules):
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "__main__":
            continue
        for distribution in _owners(module):
            version = installed_version(distribution)
            if version is not None:
                versions[distribution] = version
    return dict(sorted(versions.items()))


@functools.lru_cache(maxsize=4_096)
def _owners(module: str) -> tuple[str, ...]:
    top = module.partition(".")[0]
    records = {name: _record(name) for name in sorted(set(_all_distributions().get(top, ())))}
    path = module.replace(".", "/")
    while path:
        # A package, a module of Python or one of C: its file's name goes on with a dot.
        wanted = (f"\n{path}/__init__.", f"\n{path}.")
        owners = [
            name for name, record in records.items() if any(each in record for each in wanted)
        ]
        if owners:
            return tuple(owners)
        path = path.rpartition("/")[0]
    # An editable or an old installation has no record of its modules: any of these may own it.
    return tuple(name for name, record in records.items() if f"\n{top}/" not in record)


@functools.cache
def _record(distribution: str) -> str:
    """The files of a distribution, each behind a line's end."""
    try:
        found = metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    return f"\n{found.read_text('RECORD') or ''}"


@functools.cache
def _all_distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
