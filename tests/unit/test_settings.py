"""Settings: every variable, its default, and values that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstore.default_folders import default_keyring_path, default_trust_folder
from sealstore.errors import ConfigurationError
from sealstore.repository.settings import Settings, Variable
from sealstore.storage.blobs.payload_hash import DigestName
from sealstore.trust.store import FirstUse
from sealstore.upkeep.doctor.client import unknown_variables
from tests.matrix import each_row
from tests.sealstore_fixtures import REPOSITORY_ID


def test_without_any_variable_there_are_defaults() -> None:
    """An empty environment is a complete configuration; empty values are none."""
    empty: dict[str, str] = dict.fromkeys(Variable, "")
    for environment in ({}, empty):
        settings = Settings.from_environment(environment)
        assert settings == Settings(
            path=Path("/mnt/obj_repo"),
            keyring_path=default_keyring_path(),
            hmac_key_path=None,
            database_url=None,
            access_log_url=None,
            access_sync="normal",
            journal="wal",
            digest=DigestName.BLAKE3,
            repository_id=None,
            policy_path=None,
            strict_environment=False,
            trust_folder=default_trust_folder(),
            first_use=FirstUse.RECORD,
            max_age=None,
        )


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "normal"),
        ({"DATABASE_URL": "postgresql://host/db"}, "full"),
        ({"ACCESS_LOG_URL": "postgresql://host/db"}, "full"),
        ({"DATABASE_URL": "postgresql://host/db", "ACCESS_LOG_URL": "sqlite:////a"}, "normal"),
        ({"DATABASE_URL": "postgresql://host/db", "ACCESS_SYNC": "normal"}, "normal"),
    ],
)
def test_a_server_syncs_each_entry_by_default(given: dict[str, str], expected: str) -> None:
    """A living process that goes on without what it saw committed has to be asked for."""
    variables = {f"MODEL_REPO_{name}": value for name, value in given.items()}
    assert Settings.from_environment(variables).access_sync == expected


def test_every_variable_is_read() -> None:
    """What is set is what counts, also from the process's own environment."""
    settings = Settings.from_environment(
        {
            "MODEL_REPO_PATH": "/data/models",
            "MODEL_REPO_KEYRING": "/keys/ring.json",
            "MODEL_REPO_HMAC_KEY_FILE": "/run/secrets/key",
            "MODEL_REPO_DATABASE_URL": "postgresql://host/db",
            "MODEL_REPO_ACCESS_LOG_URL": "sqlite:////var/log/access.sqlite3",
            "MODEL_REPO_ACCESS_SYNC": "full",
            "MODEL_REPO_JOURNAL": " Delete ",
            "MODEL_REPO_DIGEST": "SHA256",
            "MODEL_REPO_ID": f" {REPOSITORY_ID} ",
            "MODEL_REPO_POLICY": "/etc/policy.toml",
            "MODEL_REPO_STRICT_ENVIRONMENT": "Yes",
            "MODEL_REPO_TRUST_STATE": "/state/trust",
            "MODEL_REPO_FIRST_USE": " Refuse ",
            "MODEL_REPO_MAX_AGE": " 36h ",
        }
    )
    assert settings == Settings(
        path=Path("/data/models"),
        keyring_path=Path("/keys/ring.json"),
        hmac_key_path=Path("/run/secrets/key"),
        database_url="postgresql://host/db",
        access_log_url="sqlite:////var/log/access.sqlite3",
        access_sync="full",
        journal="delete",
        digest=DigestName.SHA256,
        repository_id=REPOSITORY_ID,
        policy_path=Path("/etc/policy.toml"),
        strict_environment=True,
        trust_folder=Path("/state/trust"),
        first_use=FirstUse.REFUSE,
        max_age=129_600,
    )


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """from_environment() without an argument reads os.environ."""
    monkeypatch.setenv("MODEL_REPO_PATH", "/data/models")
    monkeypatch.setenv("MODEL_REPO_PAHT", "/data/models")
    assert Settings.from_environment().path == Path("/data/models")
    assert unknown_variables() == ["MODEL_REPO_PAHT"]


@pytest.mark.parametrize("text", ["1", "true", "YES", " 1 "])
def test_strictness_is_switched_on(text: str) -> None:
    """The usual words for yes."""
    assert Settings.from_environment({"MODEL_REPO_STRICT_ENVIRONMENT": text}).strict_environment


@pytest.mark.parametrize("text", ["0", "false", "No", " "])
def test_strictness_is_switched_off(text: str) -> None:
    """The usual words for no."""
    settings = Settings.from_environment({"MODEL_REPO_STRICT_ENVIRONMENT": text})
    assert not settings.strict_environment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("3600", 3_600),
        ("90s", 90),
        ("15m", 900),
        ("36h", 129_600),
        ("7d", 604_800),
        ("999999999d", 999_999_999 * 86_400),
    ],
)
def test_a_greatest_age_is_a_duration(text: str, seconds: int) -> None:
    """Seconds, or a number with a unit."""
    assert Settings.from_environment({"MODEL_REPO_MAX_AGE": text}).max_age == seconds


@pytest.mark.invariant(4)
@each_row(
    ("variable", "value"),
    [
        ("MODEL_REPO_JOURNAL", "off"),
        ("MODEL_REPO_ACCESS_SYNC", "off"),
        ("MODEL_REPO_DIGEST", "md5"),
        ("MODEL_REPO_DIGEST", "none"),
        ("MODEL_REPO_DIGEST", "sha256,blake3"),
        ("MODEL_REPO_ID", "any"),
        ("MODEL_REPO_ID", REPOSITORY_ID[1:]),
        ("MODEL_REPO_ID", REPOSITORY_ID.upper()),
        ("MODEL_REPO_STRICT_ENVIRONMENT", "maybe"),
        ("MODEL_REPO_STRICT_ENVIRONMENT", "2"),
        ("MODEL_REPO_FIRST_USE", "accept"),
        ("MODEL_REPO_FIRST_USE", "none"),
        *(
            ("MODEL_REPO_MAX_AGE", value)
            for value in (
                "none",
                "forever",
                "0",
                "0d",
                "-1",
                "+1",
                "1.5h",
                "1e3",
                "1_000",
                "1 h",
                "h",
                "36H",
                "1w",
                "1h30m",
                "٣h",
                "1" * 10,
                "0x10",
            )
        ),
    ],
)
def test_an_impossible_value_is_refused_by_the_variables_name(variable: str, value: str) -> None:
    """A typing error does not quietly become a default, and the value is not repeated."""
    with pytest.raises(ConfigurationError, match=f"^{variable} ") as refusal:
        Settings.from_environment({variable: value})
    assert value not in refusal.value.message


@pytest.mark.invariant(4)
def test_no_variable_turns_verification_off() -> None:
    """The list of variables is complete, and none of them is a way around."""
    assert {variable.removeprefix("MODEL_REPO_") for variable in Variable} == {
        "PATH",
        "KEYRING",
        "HMAC_KEY_FILE",
        "DATABASE_URL",
        "ACCESS_LOG_URL",
        "ACCESS_SYNC",
        "JOURNAL",
        "DIGEST",
        "ID",
        "POLICY",
        "STRICT_ENVIRONMENT",
        "TRUST_STATE",
        "FIRST_USE",
        "MAX_AGE",
    }


def test_misspelled_variables_are_found() -> None:
    """What begins like one of ours and is none is told, sorted; the rest of the world is not."""
    environment = {"MODEL_REPO_PATHS": "", "MODEL_REPO_": "", "MODEL_REPO_PATH": "", "PATH": ""}
    assert unknown_variables(environment) == ["MODEL_REPO_", "MODEL_REPO_PATHS"]
    assert unknown_variables({}) == []


def test_the_key_source_keeps_keys_out_of_the_repository() -> None:
    """The repository's folder goes along, the configured one unless another is opened."""
    settings = Settings.from_environment(
        {"MODEL_REPO_KEYRING": "/keys/ring.json", "MODEL_REPO_HMAC_KEY_FILE": "/run/key"}
    )
    source = settings.key_source()
    assert (source.keyring_path, source.hmac_key_path, source.outside) == (
        Path("/keys/ring.json"),
        Path("/run/key"),
        Path("/mnt/obj_repo"),
    )
    assert settings.key_source(Path("/elsewhere")).outside == Path("/elsewhere")


def test_the_trust_store_is_that_of_the_repository() -> None:
    """Its folder and what a first use means are configured; its location is the repository's."""
    settings = Settings.from_environment(
        {"MODEL_REPO_TRUST_STATE": "/state/trust", "MODEL_REPO_FIRST_USE": "refuse"}
    )
    for root, location in ((None, "file:///mnt/obj_repo"), (Path("/srv/x"), "file:///srv/x")):
        trust = settings.trust_store(root)
        assert (trust.folder, trust.location, trust.first_use) == (
            Path("/state/trust"),
            location,
            FirstUse.REFUSE,
        )
