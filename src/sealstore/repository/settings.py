"""What is configured: the environment, read in one place and only here.

Each value is told with where it came from, so that ``sealstore doctor`` can say so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from sealstore.errors import ConfigurationError
from sealstore.keys.sources import KeyringSource
from sealstore.storage.blobs.payload_hash import DigestName
from sealstore.storage.catalogue.sqlite import JOURNALS
from sealstore.trust.store import FirstUse, TrustStore, folder_location

DEFAULT_PATH: Final = "/mnt/obj_repo"
PREFIX: Final = "MODEL_REPO_"
_REPOSITORY_ID: Final = re.compile(r"[0-9a-f]{32}")
_DURATION: Final = re.compile("([1-9][0-9]{0,8})([smhd]?)")
_UNIT_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FLAGS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Variable(StrEnum):
    """Every environment variable that sealstore reads. None of them turns verification off."""

    PATH = "MODEL_REPO_PATH"
    KEYRING = "MODEL_REPO_KEYRING"
    HMAC_KEY_FILE = "MODEL_REPO_HMAC_KEY_FILE"
    DATABASE_URL = "MODEL_REPO_DATABASE_URL"
    ACCESS_LOG_URL = "MODEL_REPO_ACCESS_LOG_URL"
    ACCESS_SYNC = "MODEL_REPO_ACCESS_SYNC"
    JOURNAL = "MODEL_REPO_JOURNAL"
    DIGEST = "MODEL_REPO_DIGEST"
    ID = "MODEL_REPO_ID"
    POLICY = "MODEL_REPO_POLICY"
    STRICT_ENVIRONMENT = "MODEL_REPO_STRICT_ENVIRONMENT"
    TRUST_STATE = "MODEL_REPO_TRUST_STATE"
    FIRST_USE = "MODEL_REPO_FIRST_USE"
    MAX_AGE = "MODEL_REPO_MAX_AGE"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is configured.

    Attributes:
        path: the repository's folder.
        keyring_path: the keyring file.
        hmac_key_path: a mounted HMAC secret, or None.
        database_url: PostgreSQL's URL, or None for SQLite in the repository.
        access_log_url: the access log's database, or None for the one of the repository.
        access_sync: ``full`` where each entry of the access log survives a crash of the machine,
            ``normal`` where it survives one of the process. ``full`` by default where the log is in
            PostgreSQL: a server that crashes lives on without what a process saw committed.
        journal: SQLite's journal mode.
        digest: which digest a load checks.
        repository_id: the only repository that may be opened, or None.
        policy_path: a policy of the site's own, which every payload must pass as well, or None.
        strict_environment: whether other package versions than the signed ones are an error.
        trust_folder: where this client remembers what it has seen of each repository.
        first_use: whether a repository of which nothing is remembered may be used.
        max_age: seconds that a repository's head may be old; None where any age will do.
    """

    path: Path
    keyring_path: Path
    hmac_key_path: Path | None
    # Not shown: there is a password in it.
    database_url: str | None = field(repr=False)
    access_log_url: str | None = field(repr=False)
    access_sync: str
    journal: str
    digest: DigestName
    repository_id: str | None
    policy_path: Path | None
    strict_environment: bool
    trust_folder: Path
    first_use: FirstUse
    max_age: int | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings that the environment variables give.

        Args:
            environment: the variables; those of this process by default.

        Raises:
            ConfigurationError: a variable has an impossible value.
        """
        given = os.environ if environment is None else environment
        return cls(
            path=_path(given, Variable.PATH) or Path(DEFAULT_PATH),
            keyring_path=_path(given, Variable.KEYRING) or _default_keyring_path(given),
            hmac_key_path=_path(given, Variable.HMAC_KEY_FILE),
            database_url=given.get(Variable.DATABASE_URL) or None,
            access_log_url=given.get(Variable.ACCESS_LOG_URL) or None,
            access_sync=_access_sync(given),
            journal=_one_of(given, Variable.JOURNAL, JOURNALS),
            digest=DigestName(_one_of(given, Variable.DIGEST, tuple(DigestName))),
            repository_id=_repository_id(given),
            policy_path=_path(given, Variable.POLICY),
            strict_environment=_FLAGS[_one_of(given, Variable.STRICT_ENVIRONMENT, ("0", *_FLAGS))],
            trust_folder=_path(given, Variable.TRUST_STATE) or _default_trust_folder(),
            first_use=FirstUse(_one_of(given, Variable.FIRST_USE, tuple(FirstUse))),
            max_age=_seconds(given, Variable.MAX_AGE),
        )

    def key_source(self, outside: Path | None = None) -> KeyringSource:
        """The configured keys.

        Args:
            outside: the repository's folder, which must contain no key file; ``path`` by default.
        """
        return KeyringSource(self.keyring_path, self.hmac_key_path, outside or self.path)

    def trust_store(self, root: Path | None = None) -> TrustStore:
        """What this client remembers of the repository.

        Args:
            root: the repository's folder, which must not contain it; ``path`` by default.
        """
        root = root or self.path
        return TrustStore(
            self.trust_folder, folder_location(root), outside=root, first_use=self.first_use
        )


def duration(text: str) -> int | None:
    """The seconds that a text such as ``90``, ``90m``, ``36h`` or ``7d`` means; None for others."""
    match = _DURATION.fullmatch(text)
    return None if match is None else int(match[1]) * _UNIT_SECONDS[match[2]]


def _path(given: Mapping[str, str], variable: Variable) -> Path | None:
    value = given.get(variable)
    return Path(value) if value else None


def _default_keyring_path(given: Mapping[str, str]) -> Path:
    from sealstore.default_folders import default_keyring_path

    return default_keyring_path(has_secret=bool(given.get(Variable.HMAC_KEY_FILE)))


def _default_trust_folder() -> Path:
    from sealstore.default_folders import default_trust_folder

    return default_trust_folder()


def _one_of(given: Mapping[str, str], variable: Variable, allowed: tuple[str, ...]) -> str:
    value = given.get(variable, "").strip().lower() or allowed[0]
    if value not in allowed:
        raise ConfigurationError(
            f"{variable} has an impossible value.", hint=f"set it to one of: {', '.join(allowed)}."
        )
    return value


def _access_sync(given: Mapping[str, str]) -> str:
    log = given.get(Variable.ACCESS_LOG_URL) or given.get(Variable.DATABASE_URL) or ""
    on_server = log.startswith("postgresql")
    allowed = ("full", "normal") if on_server else ("normal", "full")
    return _one_of(given, Variable.ACCESS_SYNC, allowed)


def _seconds(given: Mapping[str, str], variable: Variable) -> int | None:
    value = given.get(variable, "").strip()
    if not value:
        return None
    seconds = duration(value)
    if seconds is None:
        raise ConfigurationError(
            f"{variable} is not a duration.",
            hint="set it to a number of seconds, or to one with a unit: 90s, 15m, 36h, 7d.",
        )
    return seconds


def _repository_id(given: Mapping[str, str]) -> str | None:
    value = given.get(Variable.ID, "").strip()
    if value and not _REPOSITORY_ID.fullmatch(value):
        raise ConfigurationError(
            f"{Variable.ID} is not a repository's id.",
            hint="set it to the 32 hexadecimal digits that 'sealstore doctor' shows.",
        )
    return value or None
