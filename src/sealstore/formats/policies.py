"""The policies that hold here: the repository's own, and a site's beside it.

A payload must pass each of them, so a site's policy can only tighten the repository's. What judges
is imported where something is to be judged: for a load, most often, the built-in lists say it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sealstore.formats.pickling.allowlist import are_trusted
from sealstore.signed.settings import PolicySettings
from sealstore.signed.statement import Import

if TYPE_CHECKING:
    from sealstore.formats.pickling.policy import Policy
    from sealstore.formats.pickling.verdicts import Verdict


class Policies:
    """All policies that a payload must pass.

    Args:
        repository: what the signed settings say.
        site: the policy of a site, where it has one.

    Raises:
        PolicyFileError: an entry of ``repository`` is no exact name.
    """

    def __init__(self, repository: PolicySettings, site: Policy | None = None) -> None:
        self._repository = repository
        self._site = site
        self._may_deny = bool(repository.deny) or site is not None
        if repository.allow or repository.deny:
            _ = self.all  # a mistake in an entry is found here, and not at the first doubt

    @classmethod
    def of(cls, repository: PolicySettings, site_path: Path | None, root: Path) -> Self:
        """The policy of the signed settings, and the one in a site's file.

        Args:
            repository: from ``repository.json``.
            site_path: a ``policy.toml``, or None.
            root: the repository's folder, in which the file must not lie.

        Raises:
            PolicyFileError: a policy does not decode strictly.
            ConfigurationError: the site's file is missing, lies in the repository, or others can
                write it.
        """
        if site_path is None:
            return cls(repository)
        from sealstore.formats.pickling.policy import read_site_policy

        return cls(repository, read_site_policy(site_path, root))

    @cached_property
    def all(self) -> tuple[Policy, ...]:
        """The repository's, then the site's where there is one."""
        from sealstore.formats.pickling.policy import policy_of

        own = policy_of(self._repository)
        return (own,) if self._site is None else (own, self._site)

    def check(self, imports: Sequence[Import]) -> None:
        """Return if no policy refuses any of ``imports``.

        Raises:
            PolicyError: one does; it names each with its reason.
        """
        # What the built-in lists trust, a policy can refuse only by an entry of its own.
        if not self._may_deny and are_trusted(imports):
            return
        for policy in self.all:
            policy.check(imports)

    def judge(self, imports: Sequence[Import]) -> tuple[Verdict, ...]:
        """The worst verdict on each of ``imports``."""
        from sealstore.formats.pickling.verdicts import gravity

        judged = zip(*(policy.judge(imports) for policy in self.all), strict=True)
        return tuple(
            max(verdicts, key=lambda verdict: (verdict.is_refused, gravity(verdict)))
            for verdicts in judged
        )
