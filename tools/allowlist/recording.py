"""What loading real objects imports, with its uses, as inspection sees it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import pickle
import platform
import sys
import warnings
from collections.abc import Iterable, Iterator

import joblib

from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory
from sealstore.signed.statement import Import

OBJECTS = (
    *("standard_library_objects", "numpy_objects", "scipy_objects", "pandas_objects"),
    *("arrow_objects", "model_objects", "estimator_objects"),
)
"""The modules that make objects; that of pyarrow only where it is installed."""

DISTRIBUTIONS = (
    *("joblib", "numpy", "pandas", "pyarrow", "python-dateutil", "pytz", "scikit-learn", "scipy"),
)

PROTOCOLS = range(6)
FIRST_PROTOCOL_OF_EVERY_CLASS = 2
"""Classes with slots, and many of Cython's, have no form in protocols 0 and 1."""
Recording = dict[str, dict[str, set[tuple[str, ...]]]]
"""By name and use (``named`` where there is none), the argument lists that were met.

A list is empty where no arguments belong to the use.
"""


def dumps(obj: object) -> Iterator[bytes]:
    """``obj``, in every form that people store it in.

    Raises:
        Exception: whatever pickling raises from protocol 2 on.
    """
    for protocol in PROTOCOLS:
        for write in (pickle.dump, joblib.dump):
            file = io.BytesIO()
            try:
                write(obj, file, protocol=protocol)
            except Exception:
                if protocol >= FIRST_PROTOCOL_OF_EVERY_CLASS:
                    raise
            else:
                yield file.getvalue()


def imports_of(obj: object) -> Iterator[tuple[Import, ...]]:
    """What loading ``obj`` imports, for each form of it."""
    for payload in dumps(obj):
        yield imports_to_sign(inspect_memory(memoryview(bytearray(payload))))


def record(objects: Iterable[tuple[str, object]], recording: Recording) -> None:
    """Add what loading ``objects`` imports to ``recording``.

    Raises:
        RuntimeError: an object that cannot be pickled or inspected; its label says which.
    """
    for label, obj in objects:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = list(imports_of(obj))
        except Exception as error:
            raise RuntimeError(f"{label}: {error}") from error
        for imports in found:
            _add(imports, recording)


def _add(imports: tuple[Import, ...], recording: Recording) -> None:
    for entry in imports:
        uses = recording.setdefault(entry.name, {})
        if not entry.uses:
            uses.setdefault("named", set())
        for use in entry.uses:
            lists = uses.setdefault(use.use, set())
            if use.arguments is not None:
                lists.add(tuple(map(_without_value, use.arguments)))


def _without_value(argument: str) -> str:
    """An argument as its kind. What a name stands for matters, and so do the names of codecs."""
    kind, _, value = argument.partition(" ")
    if kind in ("int", "bool", "str") and value != "'latin1'":
        return kind
    return argument


def recorded_here() -> str:
    """A recording of all objects, made with the running interpreter and its packages, as JSON."""
    recording: Recording = {}
    for name in OBJECTS:
        if name == "arrow_objects" and importlib.util.find_spec("pyarrow") is None:
            continue
        module = importlib.import_module(f"tools.allowlist.{name}")
        record(module.objects(), recording)
    names = {
        name: {use: sorted(lists) for use, lists in sorted(uses.items())}
        for name, uses in sorted(recording.items())
    }
    document = {
        "made_with": _versions(),
        "standard_library": sorted(sys.stdlib_module_names),
        "names": names,
    }
    return json.dumps(document, indent=1)


def _versions() -> str:
    found = [f"{platform.python_implementation()} {platform.python_version()}"]
    for distribution in DISTRIBUTIONS:
        try:
            found.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
