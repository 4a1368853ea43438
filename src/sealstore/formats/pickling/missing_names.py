"""A signed name that is not there where the payload is loaded: which one, and what to do."""

from __future__ import annotations

from sealstore.errors import ObjectLoadError


def missing(module: str, qualname: str, error: Exception) -> ObjectLoadError:
    """The error that names ``qualname`` and ``module``, for what importing it raised."""
    if module == "__main__":
        todo = (
            "it was stored by a script that defined it itself. Move it to a module that this"
            " process can import, and store the object again; or define it in this script, too."
        )
    else:
        todo = (
            f"make {module} importable here, in the version that 'sealstore show' lists, or the one"
            " that still has the name; the cause is attached to this error."
        )
    return ObjectLoadError(
        f"The payload is genuine, but does not become an object here: {qualname} of module"
        f" {module} is missing ({type(error).__name__}).",
        hint=todo,
    )
