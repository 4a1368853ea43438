"""Where files belong that no variable places: in the user's own folders, where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sealstore.errors import ConfigurationError
from sealstore.keys.sources import NO_KEYRING


def default_keyring_path(*, has_secret: bool = False) -> Path:
    """``keyring.json`` in the user's configuration folder (XDG_CONFIG_HOME on Linux).

    Args:
        has_secret: whether a mounted secret will do where there is no such folder.

    Raises:
        ConfigurationError: there is neither.
    """
    import platformdirs

    try:
        folder = _existing(platformdirs.user_config_path, "XDG_CONFIG_HOME", "MODEL_REPO_KEYRING")
    except ConfigurationError:
        if has_secret:
            return NO_KEYRING
        raise
    return folder / "keyring.json"


def default_trust_folder() -> Path:
    """``trust`` in the user's state folder (XDG_STATE_HOME on Linux).

    Raises:
        ConfigurationError: there is none.
    """
    import platformdirs

    variable = "MODEL_REPO_TRUST_STATE"
    return _existing(platformdirs.user_state_path, "XDG_STATE_HOME", variable) / "trust"


def _existing(folder: Callable[[str], Path], base: str, variable: str) -> Path:
    try:
        found = folder("sealstore")
    except (KeyError, RuntimeError):
        found = Path()
    # Releases of platformdirs differ in what they make of an empty HOME: one takes the root's.
    is_homeless = os.environ.get("HOME") == "" and not os.environ.get(base)
    if is_homeless or not found.is_absolute():
        raise ConfigurationError(
            "This process has no home folder to keep its files in.",
            hint=f"set {variable} to an absolute path (or HOME, or {base}).",
        )
    return found
