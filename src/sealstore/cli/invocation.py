"""One run of the program: what its options say, and the settings that follow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from sealstore.repository.facade import Repository
    from sealstore.repository.settings import Settings, Variable

COMPLETION_VARIABLE: Final = "_SEALSTORE_COMPLETE"
DONE: Final = 0
FAILED: Final = 1


@dataclass(slots=True)
class Invocation:
    """The options that stand before the command.

    Attributes:
        repository: the repository's folder, where one was given.
        keyring: the keyring file, where one was given.
        debug: whether errors show where they were raised.
    """

    repository: Path | None = None
    keyring: Path | None = None
    debug: bool = False

    def options(self) -> dict[Variable, str]:
        """The variables that options stand in for, each with its option."""
        from sealstore.repository.settings import Variable

        given = {Variable.PATH: self.repository, Variable.KEYRING: self.keyring}
        names = {Variable.PATH: "--repository", Variable.KEYRING: "--keyring"}
        return {variable: names[variable] for variable, value in given.items() if value}

    def environment(self) -> dict[str, str]:
        """The environment variables, as if the options had been set there."""
        from sealstore.repository.settings import Variable

        variables = dict(os.environ)
        if self.repository:
            variables[Variable.PATH] = str(self.repository)
        if self.keyring:
            variables[Variable.KEYRING] = str(self.keyring)
        return variables

    def settings(self) -> Settings:
        """What is configured.

        Raises:
            ConfigurationError: a variable has an impossible value.
        """
        from sealstore.repository.settings import Settings

        return Settings.from_environment(self.environment())

    def open(self) -> Repository:
        """The repository, to be closed by the caller.

        Raises:
            SealstoreError: as ``Repository.open``.
        """
        from sealstore.repository.facade import Repository

        return Repository.open(settings=self.settings())


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def options_of_completion(parameters: Mapping[str, object]) -> Invocation:
    """The invocation that the options typed so far make, in a shell's completion."""
    repository, keyring = parameters.get("repository"), parameters.get("keyring")
    return Invocation(
        repository if isinstance(repository, Path) else None,
        keyring if isinstance(keyring, Path) else None,
    )
