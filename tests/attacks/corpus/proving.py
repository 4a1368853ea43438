"""Loads attacks with stock joblib, to prove that they do what they claim to do.

``python -m tests.attacks.corpus.proving`` is the server: it forks a victim for each request.
`Prover` is the caller's side.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.attacks.corpus.attacks import ATTACKS
from tests.attacks.corpus.case import MARKER, PAYLOAD, Attack, Effect, When, write_attack
from tests.attacks.corpus.forking import MIB, ForkServer, Report, limit, serve

_ALLOWED: Final = {
    Effect.MARKER: (1024 * MIB, 30),
    Effect.EXHAUSTS: (256 * MIB, 1),
    Effect.CRASHES: (1024 * MIB, 30),
}
"""Bytes of memory and seconds of processor time that a victim may take."""

PATIENCE_SECONDS: Final = 2.0
"""For threads and processes that an attack has started: how long a marker may take to appear."""

# SystemError is what CPython makes of a deque that finds no more memory.
_DEATHS: Final = {
    Effect.MARKER: (),
    Effect.EXHAUSTS: ("SIGXCPU", "SIGSEGV", "MemoryError", "RecursionError", "SystemError"),
    Effect.CRASHES: ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE"),
}
_WARM: Final = (
    "asyncio",
    "click",
    "concurrent.futures",
    "joblib",
    "logging.config",
    "mako.template",
    "multiprocessing.pool",
    "numpy.f2py",
    "numpy.testing",
    "pandas",
    "scipy.io",
    "scipy.stats",
    "sealstore",
    "sklearn.datasets",
    "sklearn.ensemble",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.utils._testing",
    "sqlalchemy",
    "subprocess",
    "unittest.mock",
)


@dataclass(frozen=True)
class Proof:
    """What an attack did to a victim that used stock joblib.

    Attributes:
        fired: the moment at which its marker appeared, or None.
        died: the signal that killed it, or None.
        error: the error that it saw, or None.
    """

    fired: When | None
    died: str | None
    error: str | None

    def shows(self, attack: Attack) -> bool:
        """Whether the attack did what it claims to do, at the moment that it claims."""
        if attack.effect is Effect.MARKER:
            return self.fired is attack.when
        return self.died in _DEATHS[attack.effect] or self.error in _DEATHS[attack.effect]


class Prover:
    """Proves attacks, each in its own folder.

    Args:
        root: the folder that ``tests`` lies in.
    """

    def __init__(self, root: Path) -> None:
        self._server = ForkServer("tests.attacks.corpus.proving", root)

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def prove(self, attack: Attack, folder: Path) -> Proof:
        """Write ``attack`` into ``folder``, load it there, and tell what happened."""
        write_attack(attack, folder)
        answer = self._server.ask(id=attack.id, folder=str(folder))
        fired = answer["fired"]
        if fired is None and _has_fired(folder):  # it did not live to say so
            fired = answer["moment"]
        return Proof(None if fired is None else When(fired), answer["signal"], answer["error"])


def _has_fired(folder: Path) -> bool:
    return any(entry.name.startswith(MARKER) for entry in folder.iterdir())


# ── the victim ───────────────────────────────────────────────────────────────


class _Victim:
    def __init__(self, attack: Attack, folder: Path, report: Report) -> None:
        self._attack = attack
        self._folder = folder
        self._report = report
        self._moment = When.LOAD
        self._seen = False

    def suffer(self) -> None:
        self._report({"fired": None, "error": None, "moment": self._moment})
        try:
            self._load_and_use()
        except BaseException as error:  # noqa: BLE001 - anything at all may come out of an attack
            kinds = [kind.__name__ for kind in type(error).__mro__]
            general = ("MemoryError", "RecursionError")
            self._report({"error": next((kind for kind in general if kind in kinds), kinds[0])})
        # What has gone wrong after the load was not the load: the moment is as it was then.
        waits = self._attack.effect is Effect.MARKER and self._attack.dormant() is None
        self._look(PATIENCE_SECONDS if waits else 0)

    def _load_and_use(self) -> None:
        import joblib

        attack = self._attack
        if attack.when is When.SECOND_LOAD:
            with Path(PAYLOAD).open("rb") as file:
                joblib.load(file)
                self._enter(When.SECOND_LOAD)
                joblib.load(file)
            return
        loaded = joblib.load(PAYLOAD)
        if attack.use is not None:
            self._enter(When.USE)
            attack.use(loaded)
        if attack.when is When.EXIT:
            self._enter(When.EXIT)
            del loaded
            gc.collect()
            threading._shutdown()  # type: ignore[attr-defined] # as the interpreter does at its end
            atexit._run_exitfuncs()

    def _enter(self, moment: When) -> None:
        self._look(0)
        self._moment = moment
        self._report({"moment": moment})

    def _look(self, patience: float) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        until = time.monotonic() + patience
        while not self._seen:
            if _has_fired(self._folder):
                self._seen = True
                self._report({"fired": self._moment})
            elif time.monotonic() > until:
                break
            else:
                time.sleep(0.005)


def _prove(request: dict[str, Any], report: Report) -> None:
    folder = Path(request["folder"])
    os.chdir(folder)
    attack = ATTACKS[request["id"]]
    memory_bytes, cpu_seconds = _ALLOWED[attack.effect]
    limit(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
    _Victim(attack, folder, report).suffer()


if __name__ == "__main__":
    for _module in _WARM:
        importlib.import_module(_module)
    serve(_prove)
