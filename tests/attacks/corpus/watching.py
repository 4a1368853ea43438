"""Gives files to sealstore in a process that hears of everything that Python does.

``python -m tests.attacks.corpus.watching`` is the server; `Watcher` is the caller's side. Every
audit event of the interpreter (PEP 578: imports, files, processes, sockets, code that is compiled
or run …) is recorded while sealstore looks at a file.
"""

from __future__ import annotations

import base64
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealstore.formats.pickling.inspection import Inspection, imports_to_sign, inspect_memory
from sealstore.formats.pickling.policy import Mode, Policy
from sealstore.formats.pickling.reader import SignedImports, load_object
from tests.attacks.corpus.case import PAYLOAD
from tests.attacks.corpus.forking import MIB, ForkServer, Report, limit, serve

MEMORY_BYTES: Final = 1024 * MIB
CPU_SECONDS: Final = 30

# sys.excepthook: CPython itself reports a bytearray that it could not allocate (it looks at a field
# that it has not set yet), whatever the caller does with the MemoryError.
_HARMLESS_EVENTS: Final = frozenset(
    ("builtins.id", "object.__getattr__", "sys._getframe", "sys.excepthook")
)
UNHEARD_OF: Final = "colorsys:rgb_to_hsv"
"""A name that a load resolves and that nothing has imported: the import must be heard."""


@dataclass(frozen=True)
class Watched:
    """What sealstore made of a file, and what it did while it looked.

    Attributes:
        refusals: why the file is refused; none where it is not.
        events: the audit events that it caused.
        died: the signal that killed the process, or None.
        loaded: what a load of the file came to: ``result``, an error's name, or None without one.
    """

    refusals: tuple[str, ...]
    events: tuple[str, ...]
    died: str | None
    loaded: str | None = None


class Watcher:
    """Has files looked at, each by a process of its own.

    Args:
        root: the folder that ``tests`` lies in.
    """

    def __init__(self, root: Path) -> None:
        self._server = ForkServer("tests.attacks.corpus.watching", root)

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def judge(self, folder: Path) -> Watched:
        """Inspect and judge the file that lies in ``folder``, which is the working folder."""
        return _watched(self._server.ask(folder=str(folder)))

    def inspect_and_load(self, content: bytes) -> Watched:
        """Inspect ``content``, and load it if nothing speaks against it but what it imports.

        The load resolves `LOADABLE`, and nothing else.
        """
        return _watched(self._server.ask(content=base64.b64encode(content).decode()))


def _watched(answer: dict[str, Any]) -> Watched:
    return Watched(
        refusals=tuple(answer.get("refusals", ())),
        events=tuple(answer.get("events", ())),
        died=answer["signal"] or (None if "refusals" in answer else "silence"),
        loaded=answer.get("loaded"),
    )


def refusals(inspection: Inspection) -> list[str]:
    """Why a site in ``standard`` mode refuses a file with this inspection."""
    if inspection.findings:
        return [finding.text for finding in inspection.findings]
    verdicts = Policy(Mode.STANDARD).judge(imports_to_sign(inspection))
    return [f"{each.name}: {each.reason}" for each in verdicts if each.is_refused]


# ── the process that looks ───────────────────────────────────────────────────

LOADABLE: Final = (
    "_codecs:encode",
    "builtins:bytearray",
    "builtins:complex",
    "builtins:set",
    "builtins:frozenset",
    "builtins:object",
    "builtins:slice",
    "collections:OrderedDict",
    "copyreg:_reconstructor",
    "datetime:date",
    "datetime:timedelta",
    "numpy:dtype",
    "numpy:ndarray",
    "numpy._core.multiarray:_reconstruct",
    "numpy._core.multiarray:scalar",
    "numpy.core.multiarray:_reconstruct",
    "numpy.core.multiarray:scalar",
    UNHEARD_OF,
)
"""Names whose objects hold numbers and texts only, whatever the stream makes of them."""


class _Ear:
    def __init__(self) -> None:
        self.events: set[str] = set()
        self._listens = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: object) -> None:
        if self._listens and event not in _HARMLESS_EVENTS:
            self.events.add(event)

    def __enter__(self) -> None:
        self._listens = True

    def __exit__(self, *_: object) -> None:
        self._listens = False


def _look(request: dict[str, Any], report: Report) -> None:
    limit(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS)
    ear = _Ear()
    if "folder" in request:
        os.chdir(request["folder"])
        content = Path(PAYLOAD).read_bytes()
        with ear:
            reasons = refusals(inspect_memory(memoryview(content)))
        report({"refusals": reasons, "events": sorted(ear.events)})
        return
    content = base64.b64decode(request["content"])
    with ear:
        inspection = inspect_memory(memoryview(content))
        loaded = None if inspection.findings else _loaded(content)
    reasons = [finding.text for finding in inspection.findings]
    report({"refusals": reasons, "events": sorted(ear.events), "loaded": loaded})


def _loaded(content: bytes) -> str:
    try:
        load_object(memoryview(bytearray(content)), find_class=SignedImports(LOADABLE).resolve)
    except Exception as error:  # noqa: BLE001 - constructors raise what they like
        return type(error).__name__
    return "result"


def _warm_up() -> None:
    """Import whatever sealstore imports for payloads of any kind, so that it is not heard later."""
    import bz2
    import gzip
    import lzma
    import pickle
    import zlib
    from importlib import import_module

    import numpy as np

    # Imported when a payload first asks for it.
    for room in ("arrays", "wrapper", "compression", "numpy_standins", "dtype_states"):
        import_module(f"sealstore.formats.pickling.{room}")
    arrays = [np.zeros(3), np.array([None]), np.float64(1)]
    contents = [pickle.dumps(arrays, protocol) for protocol in range(6)]
    contents += [
        zlib.compress(contents[4]),
        gzip.compress(contents[4]),
        bz2.compress(contents[4]),
        lzma.compress(contents[4]),
        lzma.compress(contents[4], lzma.FORMAT_ALONE),
        b"\x04\x22\x4d\x18",
        b"broken",
    ]
    for content in contents:
        refusals(inspect_memory(memoryview(content)))
        _loaded(content)
    for name in LOADABLE:
        module, _, qualname = name.partition(":")
        if name != UNHEARD_OF and not module.startswith("numpy.core"):
            SignedImports((name,)).resolve(module, qualname)


if __name__ == "__main__":
    _warm_up()
    serve(_look)
