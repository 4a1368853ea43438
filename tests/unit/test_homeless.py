"""A process whose user has no home folder: what is configured is enough, the rest is told."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from sealstore.errors import ConfigurationError
from sealstore.repository import environment
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from tests.matrix import each_row


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "LOGNAME", "USER", "LNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("USERNAME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    environment._name_of.cache_clear()
    return monkeypatch


@each_row("home", [None, "", "relative"])
def test_the_variable_to_set_is_named(homeless: pytest.MonkeyPatch, home: str | None) -> None:
    """No folder is made up, neither below the root nor in the working folder."""
    if home is not None:
        homeless.setenv("HOME", home)
    with pytest.raises(ConfigurationError, match="set MODEL_REPO_KEYRING"):
        Settings.from_environment({"MODEL_REPO_TRUST_STATE": "/t"})
    for keys in ("MODEL_REPO_KEYRING", "MODEL_REPO_HMAC_KEY_FILE"):
        with pytest.raises(ConfigurationError, match="set MODEL_REPO_TRUST_STATE"):
            Settings.from_environment({keys: "/k"})


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the table of users has one: what is set says that there is none."""
    monkeypatch.setenv("HOME", "")
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="set MODEL_REPO_KEYRING"):
        Settings.from_environment({"MODEL_REPO_TRUST_STATE": "/t"})


def test_a_mounted_secret_and_a_trust_folder_are_enough(
    homeless: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It stores and loads, and says its user's number."""
    secret = tmp_path / "secret"
    secret.write_text(os.urandom(32).hex())
    secret.chmod(0o400)
    settings = Settings.from_environment(
        {
            "MODEL_REPO_PATH": str(tmp_path / "site"),
            "MODEL_REPO_HMAC_KEY_FILE": str(secret),
            "MODEL_REPO_TRUST_STATE": str(tmp_path / "trust"),
        }
    )
    with Repository.create(settings.path, settings=settings) as repository:
        stored = repository.store([1], "list", "1")
        assert stored.stored_by.user == f"uid {os.getuid()}"
        assert repository.load("list") == [1]
    environment._name_of.cache_clear()
