"""The running environment: who and where, which versions, and how they differ from signed ones."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Final

from sealstore import limits
from sealstore.errors import InvalidMetadataError
from sealstore.ledger.entries import Actor
from sealstore.signed.statement import StoredBy


def now() -> str:
    """The time now, UTC, as statements write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def stored_by(actor: str | None) -> StoredBy:
    """Who this process is.

    Args:
        actor: what the caller says of itself, such as a job's id.

    Raises:
        InvalidMetadataError: longer than ``limits.MAX_ACTOR_CHARACTERS``, or no string.
    """
    _require_storable("An actor", actor, limits.MAX_ACTOR_CHARACTERS)
    return StoredBy(user=_shortened(_user()), host=_host(), actor=actor)


def process_id() -> int:
    """The id of this process."""
    return os.getpid()


def entry_actor(who: StoredBy, process: int | None) -> Actor:
    """Who does something, as the ledger's entries tell it."""
    return Actor(user=who.user, host=who.host, process=process, actor=who.actor)


def require_context(context: str | None) -> None:
    """Return if the caller may say this of the occasion of an access.

    Raises:
        InvalidMetadataError: longer than ``limits.MAX_CONTEXT_CHARACTERS``, or no string.
    """
    _require_storable("A context", context, limits.MAX_CONTEXT_CHARACTERS)


def python_version() -> str:
    """This interpreter's version."""
    return platform.python_version()


def version_differences(python: str, packages: Mapping[str, str]) -> list[str]:
    """Where this environment differs in major or minor version from the signed one.

    Args:
        python: the signed interpreter's version.
        packages: the signed versions by distribution.

    Returns:
        One phrase for each difference, such as ``numpy 1.26.3 was stored, 2.4.6 runs``.
    """
    differences = []
    running_python = python_version()
    if _major_minor(python) != _major_minor(running_python):
        differences.append(f"Python {python} was stored, {running_python} runs")
    for distribution, stored in packages.items():
        running = installed_version(distribution)
        if running is None:
            differences.append(f"{distribution} {stored} was stored, none is installed")
        elif _major_minor(stored) != _major_minor(running):
            differences.append(f"{distribution} {stored} was stored, {running} runs")
    return differences


# What is installed does not change under a running process in a way it could react to.
@functools.cache
def installed_version(distribution: str) -> str | None:
    """The installed version of ``distribution``; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return None


@functools.cache
def _host() -> str:
    return _shortened(socket.gethostname())


def _require_storable(what: str, text: object, characters: int) -> None:
    is_text = isinstance(text, str) and len(text) <= characters and not _SURROGATE.search(text)
    if text is not None and not is_text:
        raise InvalidMetadataError(f"{what} is a string of at most {characters} characters.")


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""What a string may hold, and UTF-8 cannot."""


def _shortened(text: str) -> str:
    # Names that are no UTF-8 reach Python as lone surrogates, which JSON cannot carry.
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return shown[: limits.MAX_ACTOR_CHARACTERS]


def _user() -> str:
    return _name_of(os.getuid(), tuple(map(os.environ.get, _USER_VARIABLES)))


_USER_VARIABLES: Final = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""What ``getpass.getuser`` asks before it reads the table of users, which takes long."""


@functools.lru_cache(maxsize=4)
def _name_of(_uid: int, _variables: tuple[str | None, ...]) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a user id without an entry and without LOGNAME.
        return f"uid {os.getuid()}"


def _major_minor(version: str) -> str:
    match = re.match(r"\d+(?:\.\d+)?", version)
    return version if match is None else match.group()
