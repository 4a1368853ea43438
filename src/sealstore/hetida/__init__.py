"""hetida designer's Store Object and Load Object, on a sealstore repository.

``dump_obj`` and ``load_obj`` have the signatures and the semantics of ``hetdesrun.serialization``
(hetida designer 0.9). One line in a site's ``hetdesrun_config.py`` puts them in its place, so that
the released components use them unchanged::

    import sealstore.hetida; sealstore.hetida.install()
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sealstore.errors import (
    ConfigurationError,
    ObjectLoadError,
    RepositoryExistsError,
    RepositoryNotFoundError,
    SealstoreError,
)
from sealstore.names import Name, Tag
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings, Variable
from sealstore.storage.layout import REPOSITORY_FILE

__all__ = ["dump_obj", "install", "load_obj"]

_opened: dict[object, Repository] = {}
_opening = threading.Lock()
_runtime_path: Callable[[], str] | None = None


def dump_obj(obj: Any, name: str, tag: str) -> None:
    """Store ``obj`` in the repository at ``MODEL_REPO_PATH`` (default ``/mnt/obj_repo``).

    An absent or empty folder becomes a repository, when the keyring has an active key for it.

    Args:
        obj: anything that can be pickled.
        name, tag: under what. Storing the same again makes a new revision.

    Raises:
        ValueError: the tag is ``latest``, in any case, or a name is not allowed.
        SealstoreError: storing failed; nothing that was there changed. It has the ``error_code``
            that hetida designer shows, and no path of this machine.
    """
    with _presentable():
        # Before a repository is made for it.
        Name(name)
        Tag.to_store(tag)
        _repository(create=True).store(obj, name, tag)


def load_obj(name: str, tag: str) -> Any:
    """Load what was stored under ``name`` and ``tag``, verified before it is unpickled.

    Args:
        name, tag: which; the tag ``latest`` gives what was stored last under the name.

    Raises:
        ArtifactNotFound: there is none (also a FileNotFoundError).
        SealstoreError: it was refused, or cannot be loaded here. It has the ``error_code`` that
            hetida designer shows, and no path of this machine.
    """
    with _presentable():
        return _repository(create=False).load(name, tag)


def install() -> None:
    """Put ``dump_obj`` and ``load_obj`` in the place of hetida designer's own.

    Raises:
        ConfigurationError: this process is not a hetida designer runtime.
    """
    global _runtime_path  # noqa: PLW0603 (one runtime in a process, as with hetdesrun itself)
    try:
        import hetdesrun.serialization as serialization
    except ImportError as error:
        raise ConfigurationError(
            "hetida designer's runtime (hetdesrun) is not installed here.",
            hint="call install() in the runtime's hetdesrun_config.py.",
        ) from error
    serialization.dump_obj = dump_obj
    serialization.load_obj = load_obj
    # The runtime may know the folder from its own settings file rather than the environment.
    get_config = getattr(serialization, "get_config", None)
    if get_config is not None:
        _runtime_path = lambda: str(get_config().model_repo_path)  # noqa: E731 (one expression)


def is_installed() -> bool | None:
    """Whether ``install`` is in force; None where hetida designer's runtime is not loaded."""
    import sys

    serialization = sys.modules.get("hetdesrun.serialization")
    return None if serialization is None else serialization.load_obj is load_obj


def _repository(*, create: bool) -> Repository:
    """The configured repository, kept open as long as it stays the same one."""
    settings = Settings.from_environment()
    path = settings.path
    if Variable.PATH not in os.environ and _runtime_path is not None:
        path = Path(_runtime_path())
    with _opening:
        key = (settings, path, _identity(path))
        repository = _opened.get(key)
        if repository is None:
            repository = _open_or_create(path) if create else Repository.open(path)
            _close()
            _opened[(settings, path, _identity(path))] = repository
    return repository


def _close() -> None:
    """Close what is open: what was put on record last is remembered then."""
    for repository in _opened.values():
        repository.close()
    _opened.clear()


# A runtime never says that it is done.
atexit.register(_close)


def _open_or_create(path: Path) -> Repository:
    try:
        return Repository.open(path)
    except RepositoryNotFoundError:
        pass
    try:
        return Repository.create(path)
    except RepositoryExistsError:
        # Another worker may have made it at this moment: then there is one to open.
        if (path / REPOSITORY_FILE).exists():
            return Repository.open(path)
        raise


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path / REPOSITORY_FILE)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def _presentable() -> Iterator[None]:
    """Errors as hetida designer may show them: file names at most, no folders of this machine."""
    try:
        yield
    except ObjectLoadError as error:
        # Its cause is the object's own error, which whoever maintains the model needs to see.
        error.without_directories()
        raise
    except SealstoreError as error:
        raise error.without_directories() from None
