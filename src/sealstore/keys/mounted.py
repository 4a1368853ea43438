"""The HMAC key in a mounted secret, as Kubernetes brings one."""

from __future__ import annotations

import base64
import binascii
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.errors import KeyringFormatError
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import DEFAULT_ROLES
from sealstore.keys.keyring import Key, State
from sealstore.keys.sources import read_private_file
from sealstore.signed.envelope import Scope

_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2})+")


def read_hmac_key_file(path: Path, *, outside: Path | None) -> Key:
    """The HMAC key in a mounted secret, for all roles but approving, and for every repository.

    Args:
        path: the key as hexadecimal digits (``openssl rand -hex 32``) or base64
            (``openssl rand -base64 32``), white space around it ignored. The group may read it, as
            Kubernetes mounts secrets for a pod's fsGroup.
        outside: the repository's folder, which must not contain it; None where there is none yet.

    Raises:
        KeyringNotFoundError, KeyringPermissionsError: as ``read_keyring_file``.
        KeyringFormatError: neither encoding, or fewer than 32 bytes.
    """
    maximum = 4 * limits.MAX_HMAC_KEY_BYTES
    data, status = read_private_file(path, maximum, outside, group_may_read=True)
    text = data.strip()
    try:
        material = bytes.fromhex(text.decode()) if _HEX.fullmatch(text) else _from_base64(text)
        created = datetime.fromtimestamp(status.st_mtime, UTC)
        return Key(HmacSha256(material), State.ACTIVE, created, DEFAULT_ROLES, Scope(None))
    except KeyringFormatError as error:
        error.path = os.fspath(path)
        raise


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyringFormatError(
            "The HMAC key file holds neither hexadecimal digits nor base64.",
            hint="make one with 'openssl rand -hex 32'.",
        ) from None
