"""The policy: which imports a payload may reach, and what it may do with them.

It decides by names, uses and arguments alone. Nothing is imported to judge, and what is imported or
installed here plays no part: a statement is judged alike everywhere. Three ways, for each use:

* trusted: an exact name on the allowlist, for that use, with arguments that fit where they matter;
* dangerous: on the denylist; or of the standard library or a package that the allowlist covers, and
  not on the allowlist; or spelled so that it may lead through a module to somewhere else;
* unknown: what remains, such as a user's own classes.

``standard`` refuses what is dangerous, ``strict`` refuses what is unknown as well.

A site's own entries are exact names. ``deny`` wins over everything. ``allow`` lifts a refusal; but
what the denylist names, and what is trusted with certain arguments alone, it lifts only where it
names the use as well (``functools:partial called``), so that nobody does it by accident.
"""

from __future__ import annotations

import functools
import os
import stat
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from sealstore import files, limits
from sealstore.errors import ConfigurationError, PolicyFileError
from sealstore.formats.pickling.allowlist import (
    ANOTHER_TEMPLATE,
    GLOBAL,
    NAMED,
    Trusted,
    are_trusted,
    fits,
    names_among_arguments,
    never,
    trusted,
)
from sealstore.formats.pickling.denylist import denylist, is_covered
from sealstore.formats.pickling.verdicts import (
    Entry,
    Level,
    Source,
    Verdict,
    gravity,
    is_name,
    refusal,
)
from sealstore.signed.settings import PolicySettings
from sealstore.signed.statement import Import

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class Mode(StrEnum):
    """How far a policy goes."""

    STANDARD = "standard"
    """refuses what is dangerous"""
    STRICT = "strict"
    """refuses what is unknown as well"""


@dataclass(frozen=True, slots=True)
class AllowEntry:
    """One of a site's ``allow`` entries, and what comes of it.

    Attributes:
        entry: the name, and the use if one is given.
        lifts: the built-in objection that it overrides, for everybody to see; None where there is
            none but that the name is unknown.
        is_idle: whether it changes nothing: denied as well, trusted anyway, or lacking the use that
            lifting the objection takes.
    """

    entry: Entry
    lifts: str | None
    is_idle: bool


class Policy:
    """A mode, and a site's own entries over the built-in lists.

    Args:
        mode: ``standard`` or ``strict``.
        allow: what the site trusts.
        deny: what it refuses; this wins.
    """

    def __init__(
        self,
        mode: str = Mode.STANDARD,
        *,
        allow: Iterable[Entry] = (),
        deny: Iterable[Entry] = (),
    ) -> None:
        self.mode = Mode(mode)
        self.allow = frozenset(allow)
        self.deny = frozenset(deny)
        self._denylist = denylist()
        self._judge_use = functools.lru_cache(_REMEMBERED_VERDICTS)(self._judged_use)

    def judge(self, imports: Sequence[Import]) -> tuple[Verdict, ...]:
        """What this policy thinks of each of ``imports``."""
        arguments = names_among_arguments(imports)
        return tuple(self._judge(entry, arguments) for entry in imports)

    def check(self, imports: Sequence[Import]) -> None:
        """Return if this policy refuses none of ``imports``.

        Raises:
            PolicyError: it refuses some; each refused use of each is named, with the reason.
        """
        if not self.deny and are_trusted(imports):
            return
        arguments = names_among_arguments(imports)
        # Each refused use of each name, so that one edit of policy.toml can lift them all.
        refused = {
            (verdict.name, verdict.use): verdict
            for entry in imports
            for verdict in self._verdicts(entry, arguments)
            if verdict.is_refused
        }
        if refused:
            raise refusal([*refused.values()], len(imports), self.mode)

    def entries_to_learn(self, imports: Sequence[Import]) -> tuple[Entry, ...]:
        """What ``allow`` must list for strict mode to accept the unknown ones of ``imports``.

        Dangerous ones are not among them: these a person decides one by one.
        """
        unknown = {
            Entry(verdict.name) for verdict in self.judge(imports) if verdict.level is Level.UNKNOWN
        }
        return tuple(sorted(unknown, key=str))

    def allow_entries(self) -> tuple[AllowEntry, ...]:
        """The site's ``allow`` entries, sorted, with what comes of each."""
        return tuple(map(self._described, sorted(self.allow, key=str)))

    def _described(self, entry: Entry) -> AllowEntry:
        if entry in self.deny or Entry(entry.name) in self.deny:
            return AllowEntry(entry, None, is_idle=True)
        built_in = Policy(self.mode)
        verdict = built_in._judge_use(entry.name, entry.use or NAMED, None)
        if verdict.level is Level.TRUSTED and entry.use is not None:
            return AllowEntry(entry, None, is_idle=True)
        lifts = verdict.reason if verdict.level is Level.DANGEROUS else None
        needs_use = verdict.source in (Source.DENYLIST, Source.ARGUMENTS)
        return AllowEntry(entry, lifts, is_idle=needs_use and entry.use is None)

    def _judge(self, entry: Import, among_arguments: frozenset[str]) -> Verdict:
        return max(self._verdicts(entry, among_arguments), key=gravity)

    def _verdicts(self, entry: Import, among_arguments: frozenset[str]) -> list[Verdict]:
        verdicts = [self._judge_use(entry.name, use.use, use.arguments) for use in entry.uses]
        if not verdicts or entry.name in among_arguments:
            verdicts.append(self._judge_use(entry.name, NAMED, None))
        return verdicts

    def _judged_use(self, name: str, use: str, arguments: tuple[str, ...] | None) -> Verdict:
        exact = Entry(name, use)
        if exact in self.deny or Entry(name) in self.deny:
            verdict = _dangerous(exact, Source.SITE, "this site denies it")
        elif exact in self.allow:
            verdict = Verdict(name, use, Level.TRUSTED, Source.SITE)
        else:
            verdict = self._built_in(exact, arguments)
            if Entry(name) in self.allow and verdict.source not in _LIFTED_WITH_THE_USE_ONLY:
                verdict = Verdict(name, use, Level.TRUSTED, Source.SITE)
        refused = verdict.level is Level.DANGEROUS or (
            verdict.level is Level.UNKNOWN and self.mode is Mode.STRICT
        )
        return verdict._replace(is_refused=refused)

    def _built_in(self, exact: Entry, arguments: tuple[str, ...] | None) -> Verdict:
        """What the built-in lists say of a use."""
        name, use = exact.name, exact.use or NAMED
        if not is_name(name):
            return _dangerous(exact, Source.FORM, "no pickler writes such a name")
        if arguments == ANOTHER_TEMPLATE:
            return _dangerous(exact, Source.ARGUMENTS, "its state brings code of its own along")
        denial = self._denylist.denial(name, use)
        if denial is not None:
            return _dangerous(exact, Source.DENYLIST, f"it {denial}")
        known = trusted(name)
        if known is not None and (use in known.uses or known.reason is not None):
            return self._by_arguments(exact, known, arguments)
        if is_covered(name):
            as_what = "" if known is None else f" to be {use}"
            top = name.partition(":")[0].partition(".")[0]
            text = f"of {top} only what is on the allowlist is trusted, and this is not{as_what}"
            return _dangerous(exact, Source.COVERED, text)
        if may_lead_elsewhere(name):
            return _dangerous(exact, Source.FORM, "a name with dots may lead through a module")
        return Verdict(name, use, Level.UNKNOWN, Source.NOTHING, "nothing is known about it")

    def _by_arguments(
        self, exact: Entry, known: Trusted, arguments: tuple[str, ...] | None
    ) -> Verdict:
        name, use = exact.name, exact.use or NAMED
        alternatives = known.uses.get(use, ())
        if alternatives is None:
            return Verdict(name, use, Level.TRUSTED, Source.ALLOWLIST)
        why = known.reason or _WHY_GENERATED[use]
        if use not in known.uses:
            return _dangerous(exact, Source.ARGUMENTS, f"it {why}, and is not trusted to be {use}")
        if arguments is None:
            text = f"it {why}, and its arguments are not on record, or too many to tell apart"
            return _dangerous(exact, Source.ARGUMENTS, text)._replace(lacks_arguments=True)
        # What a person wrote down is meant as it stands. Where the list was generated, a site's own
        # class may stand where a class of the same package stood.
        is_free = self._is_unknown if known.reason is None else never
        if fits(alternatives, arguments, is_free):
            return self._by_named_arguments(exact, why, arguments)
        return _dangerous(exact, Source.ARGUMENTS, f"it {why}, and these arguments are not trusted")

    def _by_named_arguments(self, exact: Entry, why: str, arguments: tuple[str, ...]) -> Verdict:
        for argument in arguments:
            if argument.startswith(GLOBAL):
                name = argument[len(GLOBAL) :]
                if self._judge_use(name, NAMED, None).level is Level.DANGEROUS:
                    text = f"it {why}, here {name}, which is refused itself"
                    return _dangerous(exact, Source.ARGUMENTS, text)
        return Verdict(exact.name, exact.use or NAMED, Level.TRUSTED, Source.ALLOWLIST)

    def _is_unknown(self, name: str) -> bool:
        return self._built_in(Entry(name), None).level is Level.UNKNOWN


_REMEMBERED_VERDICTS: Final = 2_048

_WHY_GENERATED: Final = {
    "called": "makes what its arguments name",
    "built": "takes what its state brings along",
}
"""Why the arguments of a use matter, where the allowlist was generated with them."""

_LIFTED_WITH_THE_USE_ONLY: Final = frozenset((Source.DENYLIST, Source.ARGUMENTS))


def may_lead_elsewhere(name: str) -> bool:
    """Whether ``module:qualname`` may lead out of its module.

    A qualified name with dots is followed attribute by attribute: through a class to a class within
    it, but just as well through an imported module (``os.system``) or through an object's own
    attributes (``f.__globals__``). Classes are told by their capital letter. Names with two
    underscores on both sides are never classes.
    """
    parts = name.partition(":")[2].split(".")
    if any(part.startswith("__") and part.endswith("__") for part in parts):
        return True
    return not all(part.lstrip("_")[:1].isupper() for part in parts[:-1])


def _dangerous(entry: Entry, source: Source, reason: str) -> Verdict:
    return Verdict(entry.name, entry.use or NAMED, Level.DANGEROUS, source, reason)


# ── policy.toml, and the settings that are signed ─────────────────────────────


def read_policy_file(path: Path) -> Policy:
    """The policy in a ``policy.toml``.

    Raises:
        PolicyFileError: it does not decode strictly.
        ConfigurationError: it cannot be read, or others can write it.
    """
    try:
        data = files.read(
            path,
            limits.MAX_POLICY_BYTES,
            follow_links=True,
            judge=lambda status: _refuse_foreign(path, status),
        )
    except files.NotRegularFileError as error:
        raise ConfigurationError("The policy is not a regular file.", path=path) from error
    except files.FileTooLargeError as error:
        raise PolicyFileError(f"The policy is too long ({error.strerror}).", path=path) from error
    except OSError as error:
        raise ConfigurationError(
            f"The policy cannot be read ({error.strerror}).", path=path, hint="check {path}."
        ) from error
    try:
        return decode_policy(data)
    except PolicyFileError as error:
        error.path = os.fspath(path)
        raise


def _refuse_foreign(path: Path, status: os.stat_result) -> None:
    if status.st_mode & _WRITABLE_BY_OTHERS or status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            "Others can write the policy.", path=path, hint="chmod go-w {path}, and own it."
        )


def read_site_policy(path: Path, root: Path) -> Policy:
    """The policy in a site's ``policy.toml``, which must not lie in the repository.

    Raises:
        PolicyFileError: it does not decode strictly.
        ConfigurationError: it cannot be read, lies below ``root``, or others can write it.
    """
    if path.resolve().is_relative_to(root.resolve()):
        raise ConfigurationError(
            "The site's policy lies inside the repository: whoever can write there could replace"
            " it.",
            path=path,
            hint="move {path} out of the repository, and set MODEL_REPO_POLICY to its new place.",
        )
    return read_policy_file(path)


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
