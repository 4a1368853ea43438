"""The imports of a payload, as they are signed and as a load resolves them."""

from __future__ import annotations

import collections
import subprocess
import sys
from typing import Any

import pytest

from sealstore.errors import ObjectLoadError, UnsignedImportError, UnsupportedPayloadError
from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory
from sealstore.formats.pickling.reader import SignedImports
from tests.matrix import each_row


@pytest.mark.invariant(4)
def test_only_signed_names_are_resolved() -> None:
    """A name that the statement does not list is refused before its module is imported."""
    signed = SignedImports(["collections:OrderedDict"])
    assert signed.resolve("collections", "OrderedDict") is collections.OrderedDict
    sys.modules.pop("antigravity", None)
    with pytest.raises(UnsignedImportError):
        signed.resolve("antigravity", "geohash")
    with pytest.raises(UnsignedImportError):
        signed.resolve("collections", "Counter")
    assert "antigravity" not in sys.modules


def test_qualified_names_are_followed() -> None:
    """A dotted name is followed attribute by attribute."""
    signed = SignedImports(["collections:OrderedDict.fromkeys"])
    found: Any = signed.resolve("collections", "OrderedDict.fromkeys")
    assert found(["a"]) == {"a": None}


@each_row(
    ("module", "qualname", "advice"),
    [
        ("__main__", "Model", "Move it to a module"),
        ("no_such_module", "Model", "make no_such_module importable"),
        ("collections", "Gone", "make collections importable"),
        ("collections", "OrderedDict.Gone", "make collections importable"),
    ],
)
def test_a_name_that_is_missing_here_is_told(module: str, qualname: str, advice: str) -> None:
    """The error names the class and its module, says what to do, and has its cause."""
    with pytest.raises(ObjectLoadError) as missing:
        SignedImports([f"{module}:{qualname}"]).resolve(module, qualname)
    assert f"{qualname} of module {module} is missing" in str(missing.value)
    assert advice in str(missing.value)
    assert isinstance(missing.value.__cause__, ImportError | AttributeError)


def test_findings_are_refused() -> None:
    """What an inspection speaks against is not signed."""
    inspection = inspect_memory(memoryview(b"ZF" + bytes(20)))
    with pytest.raises(UnsupportedPayloadError):
        imports_to_sign(inspection)


def test_a_load_imports_what_it_needs() -> None:
    """No writer, no inspection and no judge is imported for a load, and numpy for arrays alone."""
    program = (
        "import pickle, sys\n"
        "from sealstore.formats.policies import Policies\n"
        "from sealstore.formats.registry import format_named\n"
        "from sealstore.formats.pickling.reader import load_object\n"
        "from sealstore.signed.settings import PolicySettings\n"
        "from sealstore.signed.statement import Import, ImportUse\n"
        "form = ('tuple', 'dtype', 'bytearray')\n"
        "imports = [Import('numpy:ndarray', (ImportUse('called', form),)),\n"
        "           Import('sklearn.svm._classes:SVC', (ImportUse('built', ('dict',)),))]\n"
        "Policies(PolicySettings()).check(imports)\n"
        "format_named('joblib')\n"
        "content = bytearray(pickle.dumps({'a': [1.5]}, 5))\n"
        "assert load_object(memoryview(content), find_class=None) == {'a': [1.5]}\n"
        "room = 'sealstore.formats.'\n"
        "print(*sorted(name.removeprefix(room) for name in sys.modules if name.startswith(room)))\n"
        "assert not {'numpy', 'joblib', 'tomllib'} & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert ran.stdout.decode().split() == [
        "joblib_format",
        "pickling",
        "pickling.allowlist",
        "pickling.reader",
        "pickling.refusals",
        "pickling.stream",
        "pickling.unpickler",
        "pickling.wrapper",
        "policies",
        "registry",
    ]
