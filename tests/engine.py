"""Loading and inspecting bytes with the pickle engine: for its tests."""

from __future__ import annotations

import importlib
import pickle
import struct
from collections.abc import Callable
from typing import Any

from sealstore.formats.pickling.inspection import Inspection, inspect_memory
from sealstore.formats.pickling.reader import load_object

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def resolve(module: str, qualname: str) -> Any:
    """What a name stands for, as the unpickler itself would find it."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def loaded(
    content: bytes, find_class: Callable[[str, str], object] = resolve, **options: Any
) -> Any:
    """The object that the engine reads from a file with this content."""
    return load_object(memoryview(bytearray(content)), find_class=find_class, **options)


def inspected(content: bytes) -> Inspection:
    """The engine's inspection of a file with this content."""
    return inspect_memory(memoryview(content))


def reasons(content: bytes) -> list[str]:
    """Why an inspection refuses a file with this content."""
    return [finding.reason.value for finding in inspected(content).findings]


def uses(content: bytes) -> dict[str, list[tuple[str, tuple[str, ...] | None]]]:
    """The names that a file imports, each with its uses and their arguments."""
    return {
        found.name: [(use.use.value, use.arguments) for use in found.uses]
        for found in inspected(content).imports
    }


# ── opcodes ──────────────────────────────────────────────────────────────────


def proto(protocol: int) -> bytes:
    """The opcode that every stream since protocol 2 begins with."""
    return b"\x80" + bytes([protocol])


def frame(body: bytes) -> bytes:
    """``body`` in a frame of its own."""
    return b"\x95" + struct.pack("<Q", len(body)) + body


def text(value: str) -> bytes:
    """A string of up to 255 bytes."""
    encoded = value.encode()
    return b"\x8c" + bytes([len(encoded)]) + encoded


def name(module: str, qualname: str) -> bytes:
    """A name, in the words of protocol 4."""
    return text(module) + text(qualname) + b"\x93"


def old_name(module: str, qualname: str) -> bytes:
    """A name, in the words of protocols 0 to 3."""
    return f"c{module}\n{qualname}\n".encode()


def values(*objects: object) -> bytes:
    """Opcodes that push ``objects``, of built-in types."""
    return b"".join(pickle.dumps(value, 3)[2:-1] for value in objects)


# ── joblib's wrapper ─────────────────────────────────────────────────────────

F8 = (
    name("numpy", "dtype")
    + values("f8", False, True)
    + b"\x87R"
    + values((3, "<", None, None, None, -1, -1, 0))
    + b"b"
)
"""The dtype ``<f8``."""


def dtype(code: str, *state: bytes | object) -> bytes:
    """A dtype by its code and the values of its state, of which opcodes are taken as they are."""
    fields = b"".join(part if isinstance(part, bytes) else values(part) for part in state)
    return name("numpy", "dtype") + values(code, False, True) + b"\x87R(" + fields + b"tb"


def wrapper_state(**changes: bytes | None) -> bytes:
    """The state of joblib's wrapper for one ``<f8``; changes are opcodes, None leaves one out."""
    state: dict[str, bytes | None] = {
        "subclass": name("numpy", "ndarray"),
        "shape": values((1,)),
        "order": values("C"),
        "dtype": F8,
        "allow_mmap": values(True),
        "numpy_array_alignment_bytes": values(16),
        **changes,
    }
    items = b"".join(text(key) + value for key, value in state.items() if value is not None)
    return b"}(" + items + b"u"


def wrapper(**changes: bytes | None) -> bytes:
    """Opcodes that make and build joblib's wrapper; its array's bytes follow."""
    made = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81"
    return made + wrapper_state(**changes) + b"b"


ONE_F8 = b"\x01\xff" + struct.pack("<d", 1.5)
"""What follows the wrapper of one ``<f8``: padding of one byte, and the array."""


def array_file(**changes: bytes | None) -> bytes:
    """A file with a single array of one ``<f8``."""
    return proto(4) + frame(wrapper(**changes)) + ONE_F8 + b"."
