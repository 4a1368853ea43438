"""Where keys come from: the keyring file, and when to read it again; ``mounted`` reads a secret.

Key files are trusted, so whoever could write or read them must not be able to: files that others
can read, that belong to somebody else, or that lie inside the repository are refused.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from sealstore import files, limits
from sealstore.errors import (
    KeyringFormatError,
    KeyringNotFoundError,
    KeyringPermissionsError,
    StatementFormatError,
)
from sealstore.keys.algorithms import ALGORITHMS
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.process_bound import ProcessBound
from sealstore.signed.envelope import Scope
from sealstore.signed.statement import RepositoryId, UtcTime, refuse_ambiguous_json

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class _KeyEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    algorithm: str
    state: State
    created: UtcTime
    roles: tuple[Role, ...]
    repositories: tuple[RepositoryId, ...] | Literal["any"]
    material: str

    def __repr__(self) -> str:
        return f"_KeyEntry({self.id!r})"  # without the secret


class _KeyringDocument(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: Literal[1]
    keys: tuple[_KeyEntry, ...]


_decoder: Final = msgspec.json.Decoder(_KeyringDocument)


NO_KEYRING: Final = Path("/dev/null/keyring.json")
"""Stands for no keyring file, and can never be one: where there is a mounted secret only."""


def read_keyring_file(path: Path, *, outside: Path | None) -> Keyring:
    """The keyring in a file.

    Args:
        path: the file, mode 0600 or less.
        outside: the repository's folder, which must not contain it; None where there is none yet.

    Raises:
        KeyringNotFoundError: there is no file.
        KeyringPermissionsError: others can read or write it, it is not the user's own, or it lies
            inside the repository.
        KeyringFormatError: it does not decode strictly, or an id is not its material's.
    """
    data, _ = read_private_file(path, limits.MAX_KEYRING_BYTES, outside, group_may_read=False)
    try:
        return decode_keyring(data)
    except KeyringFormatError as error:
        error.path = os.fspath(path)
        raise


def decode_keyring(data: bytes) -> Keyring:
    """The keyring that the bytes of a keyring file are.

    Raises:
        KeyringFormatError: they do not decode strictly, or an id is not its material's.
    """
    try:
        refuse_ambiguous_json(data, "keyring")
        document = _decoder.decode(data)
    except (StatementFormatError, msgspec.MsgspecError) as error:
        reason = error.message if isinstance(error, StatementFormatError) else _reason(error)
        raise KeyringFormatError(
            f"The keyring does not decode: {reason.rstrip('.')}.",
            hint="restore {path} from a backup, or make a new one with 'sealstore keys generate'.",
        ) from None
    return Keyring.of(map(_key_of, document.keys))


@dataclass(slots=True)
class KeyringSource(ProcessBound):
    """The configured keys, read again whenever a file has changed.

    A worker that runs for weeks so learns of a revoked key at its next load.

    Attributes:
        keyring_path: the keyring file.
        hmac_key_path: a mounted HMAC secret, or None. With one, the keyring file may be absent.
        outside: the repository's folder, which must contain neither.
    """

    keyring_path: Path
    hmac_key_path: Path | None = None
    outside: Path | None = None
    # One value, replaced as a whole: a thread must not note a new file beside an old keyring.
    _last: tuple[tuple[object, ...], Keyring] | None = field(default=None, init=False, repr=False)

    def current(self) -> Keyring:
        """The keyring as the files have it now.

        Raises:
            KeyringError: as ``read_keyring_file`` and ``mounted.read_hmac_key_file``.
        """
        seen = (_identity(self.keyring_path), _identity(self.hmac_key_path))
        last = self._last
        if last is None or seen != last[0]:
            self._last = last = (seen, self._read())
        return last[1]

    def _read(self) -> Keyring:
        if self.hmac_key_path is None:
            return read_keyring_file(self.keyring_path, outside=self.outside)
        from sealstore.keys.changing import merged
        from sealstore.keys.mounted import read_hmac_key_file

        mounted = read_hmac_key_file(self.hmac_key_path, outside=self.outside)
        if self.keyring_path == NO_KEYRING:
            return merged(Keyring.of([]), [mounted])
        try:
            keyring = read_keyring_file(self.keyring_path, outside=self.outside)
        except KeyringNotFoundError:
            keyring = Keyring.of([])
        return merged(keyring, [mounted])


def _identity(path: Path | None) -> tuple[int, ...] | None:
    try:
        return None if path is None else files.identity(os.stat(path))
    except OSError:
        return None


def read_private_file(
    path: Path, maximum: int, outside: Path | None, *, group_may_read: bool
) -> tuple[bytes, os.stat_result]:
    """The bytes of a key file, at most ``maximum``, and its status. See ``read_keyring_file``."""
    if outside is not None and is_inside(path, outside):
        raise KeyringPermissionsError(
            "The key file lies inside the repository: whoever can write there could replace it.",
            path=path,
            hint="move {path} out of the repository, and set MODEL_REPO_KEYRING to its new place.",
        )

    def judge(status: os.stat_result) -> None:
        _refuse_exposed(path, status, group_may_read=group_may_read)

    try:
        # Opened once; what is checked is what is read. Secrets are often mounted as links.
        return files.read_and_status(path, maximum, follow_links=True, judge=judge)
    except files.FileTooLargeError as error:
        raise KeyringFormatError("The key file is too large to be one.", path=path) from error
    except FileNotFoundError:
        raise KeyringNotFoundError(
            "There is no key file where one is configured.", path=path
        ) from None
    except OSError as error:
        raise KeyringPermissionsError(
            f"The key file cannot be read ({error.strerror}).", path=path, hint="check {path}."
        ) from error


def _refuse_exposed(path: Path, status: os.stat_result, *, group_may_read: bool) -> None:
    allowed = 0o740 if group_may_read else 0o700
    if status.st_mode & 0o777 & ~allowed:
        mode = "0400 or 0440" if group_may_read else "0600"
        raise KeyringPermissionsError(
            f"The key file can be read or written by others (mode {status.st_mode & 0o777:04o};"
            f" {mode} is needed).",
            path=path,
            hint="chmod 600 {path} (a mounted secret: defaultMode 0400).",
        )
    if status.st_uid not in (0, os.geteuid()):
        raise KeyringPermissionsError(
            "The key file belongs to another user.", path=path, hint="chown it: {path}"
        )


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path``, or any link on the way to what it means, lies in ``folder``."""
    # By strings: every store asks this several times, and pathlib takes far longer.
    root = os.path.realpath(folder)
    within = root if root.endswith("/") else f"{root}/"
    place = "/"
    rest = list(reversed(path.absolute().parts[1:]))
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            place = os.path.dirname(place)
            continue
        step = f"/{part}" if place == "/" else f"{place}/{part}"
        if step.startswith(within):
            return True
        # What cannot be looked at is no link: nor could a key be read by way of it.
        if links == _MAX_LINKS or not os.path.islink(step):
            place = step
            continue
        links += 1
        target = Path(os.readlink(step))
        if target.is_absolute():
            place = "/"
        rest.extend(reversed(target.parts[target.is_absolute() :]))
    return False


_MAX_LINKS: Final = 40
"""Links that Linux follows in one path; beyond them opening fails."""


def _reason(error: msgspec.MsgspecError) -> str:
    text = str(error)
    if text.startswith(("Expected ", "Object missing ")):
        return text
    # Other texts quote a value, and a value in the wrong place may be a secret.
    place = re.search(r"`(\$[\w.\[\]]*)`\Z", text)
    return f"{'something' if place is None else place[1]} is not what it must be"


def _key_of(entry: _KeyEntry) -> Key:
    algorithm = ALGORITHMS.get(entry.algorithm)
    if algorithm is None:
        raise KeyringFormatError("The keyring has a key of an unknown algorithm.")
    try:
        material = algorithm(base64.b64decode(entry.material, validate=True))
        created = datetime.strptime(entry.created, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        # Without the cause, which would quote the entry.
        raise KeyringFormatError(
            "A key's material in the keyring is not base64, or its time of creation none."
        ) from None
    if material.key_id != entry.id:
        raise KeyringFormatError("A key's id in the keyring is not the one of its material.")
    repositories = None if entry.repositories == "any" else frozenset(entry.repositories)
    return Key(material, entry.state, created, frozenset(entry.roles), Scope(repositories))
