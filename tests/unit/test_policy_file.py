"""policy.toml: decoded strictly, so that no mistake in it makes a weaker policy."""

from __future__ import annotations

import pytest

from sealstore import errors, limits
from sealstore.formats.pickling.policy import Mode, decode_policy, policy_of, settings_of
from sealstore.formats.pickling.verdicts import USES, Entry
from sealstore.signed.settings import PolicySettings
from tests.matrix import each_row


def test_a_policy_file_says_mode_allow_and_deny() -> None:
    """Entries are exact names, with or without a use."""
    policy = decode_policy(
        b'mode = "strict"\n'
        b'allow = ["mine:Churn", "functools:partial called"]\n'
        b'deny = ["sklearn.svm._classes:SVC"]\n'
    )
    assert policy.mode is Mode.STRICT
    assert policy.allow == {Entry("mine:Churn"), Entry("functools:partial", "called")}
    assert policy.deny == {Entry("sklearn.svm._classes:SVC")}


def test_an_empty_policy_file_is_the_standard_policy() -> None:
    """Everything in it is optional."""
    policy = decode_policy(b"")
    assert (policy.mode, policy.allow, policy.deny) == (Mode.STANDARD, frozenset(), frozenset())


@pytest.mark.parametrize("use", USES)
def test_every_use_can_be_named(use: str) -> None:
    """An entry may be about any use that a statement lists."""
    policy = policy_of(PolicySettings(allow=(f"mine:Churn {use}",)))
    assert policy.allow == {Entry("mine:Churn", use)}


def test_settings_are_what_they_were_read_from() -> None:
    """A policy becomes settings again, sorted."""
    settings = PolicySettings(mode="strict", allow=("a:B", "a:C called"), deny=("d:E",))
    assert settings_of(policy_of(settings)) == settings


@each_row(
    "text",
    [
        'mode = "off"',
        'mode = "STANDARD"',
        "mode = 1",
        "verify = false",
        'Allow = ["mine:Churn"]',
        'allow = "mine:Churn"',
        "allow = [1]",
        'allow = [["mine:Churn"]]',
        'allow = ["mine"]',
        'allow = ["mine:"]',
        'allow = ["mine.models"]',
        'allow = ["mine:*"]',
        'allow = ["mine.*:Churn"]',
        'allow = ["mine:Churn*"]',
        'allow = ["mine:Churn,mine:Other"]',
        'allow = [" mine:Churn"]',
        'allow = ["mine:Churn "]',
        'allow = ["mine:Churn  called"]',
        'allow = ["mine:Churn called made"]',
        'allow = ["mine:Churn run"]',
        'allow = ["mine:Churn CALLED"]',
        'allow = ["mine:Churn\\tcalled"]',
        'allow = ["mine:Churn\\u0000"]',
        'allow = ["mine:Churn", "mine:Churn"]',
        'deny = ["mine"]',
        'deny = ["mine:Churn", "mine:Churn"]',
        'mode = "strict"\nmode = "standard"',
        "allow = [",
        "[policy]\nmode = 'strict'",
    ],
)
def test_a_policy_file_that_is_not_exact_is_refused(text: str) -> None:
    """Unknown keys, other types, prefixes, patterns and duplicates are mistakes, and said to be."""
    with pytest.raises(errors.PolicyFileError) as caught:
        decode_policy(text.encode())
    assert caught.value.code == "POLICY_FILE"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"mode = 'strict'\x00",
        b"allow = " + b"[" * 10_000,
        b"#" * (limits.MAX_POLICY_BYTES + 1),
    ],
)
def test_a_policy_file_that_is_no_text_of_toml_is_refused(data: bytes) -> None:
    """Other bytes, deep nesting and long files end in the same error."""
    with pytest.raises(errors.PolicyFileError):
        decode_policy(data)


def test_an_entry_is_shown_as_it_is_written() -> None:
    """What parse reads, str writes."""
    for text in ("mine:Churn", "mine.models:Outer.Inner called"):
        assert str(Entry.parse(text)) == text


def test_a_refused_entry_is_quoted_without_its_control_characters() -> None:
    """An error never writes a site's raw bytes to a terminal."""
    with pytest.raises(errors.PolicyFileError) as caught:
        decode_policy(b'allow = ["\\u001b[31mmine"]')
    assert "\x1b" not in str(caught.value)
