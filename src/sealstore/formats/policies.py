"""The policies that hold here: the repository's own, and a site's beside it.

A payload must pass each of them, so a site's policy can only tighten the repository's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sealstore import limits
from sealstore.errors import ConfigurationError, PolicyFileError
from sealstore.formats.pickling.policy import Policy
from sealstore.formats.pickling.policy_file import decode_policy, policy_of
from sealstore.formats.pickling.verdicts import Verdict, gravity
from sealstore.signed.settings import PolicySettings
from sealstore.signed.statement import Import

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies that a payload must pass.

    Attributes:
        all: the repository's, then the site's where there is one.
    """

    all: tuple[Policy, ...]

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
        own = policy_of(repository)
        if site_path is None:
            return cls((own,))
        return cls((own, _site_policy(site_path, root)))

    def check(self, imports: Sequence[Import]) -> None:
        """Return if no policy refuses any of ``imports``.

        Raises:
            PolicyError: one does; it names each with its reason.
        """
        for policy in self.all:
            policy.check(imports)

    def judge(self, imports: Sequence[Import]) -> tuple[Verdict, ...]:
        """The worst verdict on each of ``imports``."""
        judged = zip(*(policy.judge(imports) for policy in self.all), strict=True)
        return tuple(
            max(verdicts, key=lambda verdict: (verdict.is_refused, gravity(verdict)))
            for verdicts in judged
        )


def read_policy_file(path: Path) -> Policy:
    """The policy in a ``policy.toml``.

    Raises:
        PolicyFileError: it does not decode strictly.
        ConfigurationError: it cannot be read, or others can write it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(
            f"The policy cannot be read ({error.strerror}).", path=path, hint="check {path}."
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError("The policy is not a regular file.", path=path)
        if status.st_mode & _WRITABLE_BY_OTHERS or status.st_uid not in (0, os.geteuid()):
            raise ConfigurationError(
                "Others can write the policy.", path=path, hint="chmod go-w {path}, and own it."
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limits.MAX_POLICY_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        return decode_policy(data)
    except PolicyFileError as error:
        error.path = os.fspath(path)
        raise


def _site_policy(path: Path, root: Path) -> Policy:
    if path.resolve().is_relative_to(root.resolve()):
        raise ConfigurationError(
            "The site's policy lies inside the repository: whoever can write there could replace"
            " it.",
            path=path,
            hint="move {path} out of the repository, and set MODEL_REPO_POLICY to its new place.",
        )
    return read_policy_file(path)
