"""``policy.toml``, decoded strictly: a mistake in it must not become a weaker policy."""

from __future__ import annotations

import tomllib

import msgspec

from sealstore import limits
from sealstore.errors import PolicyFileError
from sealstore.formats.pickling.policy import Policy
from sealstore.formats.pickling.policy_entry import Entry
from sealstore.signed.settings import PolicySettings


def decode_policy(data: bytes) -> Policy:
    """The policy that the content of a ``policy.toml`` says.

    Raises:
        PolicyFileError: too long, not TOML, an unknown key, a value of another type, or an entry
            that is no exact name.
    """
    if len(data) > limits.MAX_POLICY_BYTES:
        raise PolicyFileError(
            f"The policy has {len(data)} bytes; {limits.MAX_POLICY_BYTES} are allowed."
        )
    try:
        settings = msgspec.convert(tomllib.loads(data.decode("utf-8")), PolicySettings)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        # TOMLDecodeError and UnicodeDecodeError are ValueErrors.
        raise PolicyFileError(f"The policy is not valid: {error}.") from error
    return policy_of(settings)


def policy_of(settings: PolicySettings) -> Policy:
    """The policy that ``settings`` say.

    Raises:
        PolicyFileError: an entry that is no exact name, or one that is there twice.
    """
    return Policy(
        settings.mode,
        allow=_entries("allow", settings.allow),
        deny=_entries("deny", settings.deny),
    )


def settings_of(policy: Policy) -> PolicySettings:
    """``policy`` as settings, its entries sorted."""
    return PolicySettings(
        mode=policy.mode.value,
        allow=tuple(sorted(map(str, policy.allow))),
        deny=tuple(sorted(map(str, policy.deny))),
    )


def _entries(key: str, texts: tuple[str, ...]) -> list[Entry]:
    entries: list[Entry] = []
    for text in texts:
        try:
            entry = Entry.parse(text)
        except ValueError as error:
            raise PolicyFileError(f"In {key}, {text[:100]!a} is no entry: {error}.") from error
        if entry in entries:
            raise PolicyFileError(f"In {key}, {entry} stands twice.")
        entries.append(entry)
    return entries
