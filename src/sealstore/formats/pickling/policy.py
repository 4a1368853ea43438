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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sealstore.formats.pickling.pins import GLOBAL, fits, names_among_arguments
from sealstore.formats.pickling.policy_data import Trusted, policy_data
from sealstore.formats.pickling.policy_entry import NAMED, Entry, is_name
from sealstore.formats.pickling.scipy_templates import WITH_ANOTHER_TEMPLATE
from sealstore.formats.pickling.verdicts import Level, Source, Verdict, gravity, refusal
from sealstore.signed.statement import Import


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
        self._data = policy_data()
        denied = {entry.name for entry in self.deny}
        plain = _plain_uses()
        self._plain = (
            {name: plain[name] for name in plain if name not in denied} if denied else plain
        )
        self._judge_use = functools.lru_cache(_REMEMBERED_VERDICTS)(self._judged_use)

    def judge(self, imports: Sequence[Import]) -> tuple[Verdict, ...]:
        """What this policy thinks of each of ``imports``."""
        arguments = names_among_arguments(imports)
        return tuple(self._judge(entry, arguments) for entry in imports)

    def check(self, imports: Sequence[Import]) -> None:
        """Return if this policy refuses none of ``imports``.

        Raises:
            PolicyError: it refuses some; each is named, with the reason.
        """
        doubtful = [entry for entry in imports if not self._is_plain(entry)]
        if not doubtful:
            return
        arguments = names_among_arguments(imports)
        verdicts = [self._judge(entry, arguments) for entry in doubtful]
        refused = [verdict for verdict in verdicts if verdict.is_refused]
        if refused:
            raise refusal(refused, len(imports), self.mode)

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

    def _is_plain(self, entry: Import) -> bool:
        uses = self._plain.get(entry.name)
        if uses is None:
            return False
        return all(use.use in uses and use.arguments != _ANOTHER_TEMPLATE for use in entry.uses)

    def _judge(self, entry: Import, among_arguments: frozenset[str]) -> Verdict:
        verdicts = [self._judge_use(entry.name, use.use, use.arguments) for use in entry.uses]
        if not verdicts or entry.name in among_arguments:
            verdicts.append(self._judge_use(entry.name, NAMED, None))
        return max(verdicts, key=gravity)

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
        data = self._data
        if not is_name(name):
            return _dangerous(exact, Source.FORM, "no pickler writes such a name")
        if arguments == _ANOTHER_TEMPLATE:
            return _dangerous(exact, Source.ARGUMENTS, "its state brings code of its own along")
        denial = data.denial(name, use)
        if denial is not None:
            return _dangerous(exact, Source.DENYLIST, f"it {denial}")
        trusted = data.trusted.get(name)
        if trusted is not None and (use in trusted.uses or trusted.pinned_for is not None):
            return self._by_arguments(exact, trusted, arguments)
        if data.covers(name):
            as_what = "" if trusted is None else f" to be {use}"
            top = name.partition(":")[0].partition(".")[0]
            text = f"of {top} only what is on the allowlist is trusted, and this is not{as_what}"
            return _dangerous(exact, Source.COVERED, text)
        if may_lead_elsewhere(name):
            return _dangerous(exact, Source.FORM, "a name with dots may lead through a module")
        return Verdict(name, use, Level.UNKNOWN, Source.NOTHING, "nothing is known about it")

    def _by_arguments(
        self, exact: Entry, trusted: Trusted, arguments: tuple[str, ...] | None
    ) -> Verdict:
        name, use = exact.name, exact.use or NAMED
        alternatives = trusted.uses.get(use, ())
        if alternatives is None:
            return Verdict(name, use, Level.TRUSTED, Source.ALLOWLIST)
        why = trusted.pinned_for or _WHY_GENERATED[use]
        if use not in trusted.uses:
            return _dangerous(exact, Source.ARGUMENTS, f"it {why}, and is not trusted to be {use}")
        if arguments is None:
            text = f"it {why}, and its arguments are not on record, or too many to tell apart"
            return _dangerous(exact, Source.ARGUMENTS, text)._replace(lacks_arguments=True)
        # What a person wrote down is meant as it stands. Where the list was generated, a site's own
        # class may stand where a class of the same package stood.
        is_free = self._is_unknown if trusted.pinned_for is None else _never
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


@functools.cache
def _plain_uses() -> Mapping[str, frozenset[str]]:
    """What most statements list: names with the uses that are trusted with any arguments.

    Names that must not be handed on are not among them: these take a look at the other imports.
    """
    return {
        name: frozenset(use for use, lists in trusted.uses.items() if lists is None)
        for name, trusted in policy_data().trusted.items()
        if NAMED in trusted.uses
    }


_REMEMBERED_VERDICTS: Final = 2_048

_WHY_GENERATED: Final = {
    "called": "makes what its arguments name",
    "built": "takes what its state brings along",
}
"""Why the arguments of a use matter, where the allowlist was generated with them."""

_ANOTHER_TEMPLATE: Final = (WITH_ANOTHER_TEMPLATE,)
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


def _never(_name: str) -> bool:
    return False
