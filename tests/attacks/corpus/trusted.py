"""Attacks that name only what models need, and misuse it: its arguments, its state, its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.attacks.corpus.arrays import wrapper
from tests.attacks.corpus.case import MARKER, PYTHON, Collection, Effect, When, installed
from tests.attacks.corpus.opcodes import (
    APPEND,
    BUILD,
    DICT,
    MARK,
    POP,
    SETITEM,
    SETITEMS,
    TUPLE2,
    Code,
    build,
    call,
    name,
    new,
    partial,
    stream,
    text,
    value,
)
from tests.attacks.corpus.positions import dumped

trusted = Collection("trusted-names-only")
_ARRAY: Final = Code(wrapper() + bytes(16))
_MAPPED: Final = (MARKER, "u1", "w+", 0, (1,))


def _attribute(target: str, attribute: str) -> Code:
    return call("builtins:getattr", name(target), attribute)


def _numpys_text(item: str) -> Code:
    """A text that a call makes: equal to the literal, and of another type."""
    letters = len(item)
    state = (3, "<", None, None, None, 4 * letters, 4, 8)
    kind = build(call("numpy:dtype", f"U{letters}", False, True), state)
    module = "numpy._core" if installed("numpy") >= (2,) else "numpy.core"
    return call(f"{module}.multiarray:scalar", kind, item.encode("utf-32-le"))


# ── methods of trusted classes ───────────────────────────────────────────────

_TOFILE: Final = _attribute("numpy:ndarray", "tofile")
trusted.add(
    "method-of-an-array",
    "a method that writes a file, as pickles name methods",
    stream(call(_TOFILE, _ARRAY, MARKER)),
)
trusted.add(
    "constructor-of-a-class",
    "a constructor that makes a file, as pickles name methods",
    stream(call(_attribute("numpy:memmap", "__new__"), name("numpy:memmap"), *_MAPPED)),
)
trusted.add(
    "class-made-by-its-metaclass",
    "the class of a class makes another, whose state is a method that writes",
    stream(
        build(
            new(
                new(
                    _attribute("numpy:ndarray", "__class__"),
                    "X",
                    (name("numpy:ndarray"),),
                    {"__setstate__": _TOFILE},
                ),
                (1,),
            ),
            MARKER,
        )
    ),
)


def _transformer() -> Any:
    import numpy as np
    from sklearn.preprocessing import FunctionTransformer

    return FunctionTransformer(np.ndarray.tofile, kw_args={"file": MARKER})


def _use_transformer(model: Any) -> object:
    import numpy as np

    return model.transform(np.ones((2, 2)))


trusted.add(
    "transformer-around-a-method",
    "a transformer writes whatever it is given into a file",
    dumped(_transformer),
    when=When.USE,
    use=_use_transformer,
)

# ── functions that are trusted to be named, and then called by another ───────

_MEMMAP: Final = partial("numpy:memmap", *_MAPPED)
trusted.add(
    "partial-of-a-named-class",
    "a class that arrays name is called by a partial, and makes a file",
    stream(_MEMMAP),
    when=When.USE,
    use=lambda function: function(),
)
trusted.add(
    "factory-of-a-named-class",
    "the same partial, called by a dict for a key that it has not",
    stream(call("collections:defaultdict", _MEMMAP)),
    when=When.USE,
    use=lambda table: table["x"],
)
trusted.add(
    "planted-predict",
    "the same partial, in the place of a model's method",
    stream(build(new("sklearn.linear_model._base:LinearRegression"), {"predict": _MEMMAP})),
    when=When.USE,
    use=lambda model: model.predict(),
)

# ── states ───────────────────────────────────────────────────────────────────

_NORM: Final = "scipy.stats._continuous_distns:norm_gen"
_KEY: Final = "_parse_arg_template"
_TEMPLATE: Final = f"""\
def _parse_args(self, loc=0, scale=1):
    return (), loc, scale
def _parse_args_rvs(self, loc=0, scale=1, size=None):
    return self._argcheck_rvs(loc, scale, size=size)
def _parse_args_stats(self, loc=0, scale=1, moments='mv'):
    return (), loc, scale, moments
{PYTHON}
"""
_REST: Final = {"numargs": 0, "moment_type": 1}
_STATE: Final = {_KEY: _TEMPLATE, **_REST}
_PAIRS: Final = b"".join(value(key) + value(item) for key, item in _STATE.items())
_LOSS: Final = "sklearn._loss.loss:HalfBinomialLoss"
_STATES: Final[dict[str, tuple[str, bytes]]] = {
    "state-of-pairs": ("pairs for a dict", build(new(_NORM), list(_STATE.items()))),
    "state-in-an-ordered-dict": (
        "another kind of dict",
        new(_NORM) + call("collections:OrderedDict") + MARK + _PAIRS + SETITEMS + BUILD,
    ),
    "state-with-a-computed-key": (
        "the key is a text that a call made",
        new(_NORM)
        + MARK
        + _numpys_text(_KEY)
        + value(_TEMPLATE)
        + b"".join(value(key) + value(item) for key, item in _REST.items())
        + DICT
        + BUILD,
    ),
    "state-with-a-computed-template": (
        "the template is a text that a call made",
        build(new(_NORM), {_KEY: _numpys_text(_TEMPLATE), **_REST}),
    ),
    "state-with-bytes": (
        "the template is bytes",
        build(new(_NORM), {_KEY: _TEMPLATE.encode(), **_REST}),
    ),
    "state-by-reconstructor": (
        "the distribution is made by protocol 0's constructor",
        build(call("copyreg:_reconstructor", name(_NORM), name("builtins:object"), None), _STATE),
    ),
    "class-changed-by-build": (
        "a harmless object is given the template, then the class that runs it",
        build(build(new(_LOSS), (_STATE, {"__class__": name(_NORM)})), {}),
    ),
    "class-changed-by-a-second-build": (
        "the same in three steps",
        new(_LOSS)
        + value(_STATE)
        + BUILD
        + value((None, {"__class__": name(_NORM)}))
        + BUILD
        + value({})
        + BUILD,
    ),
    "class-changed-by-a-computed-key": (
        "the same, and __class__ is a text that a call made",
        new(_LOSS)
        + value(_STATE)
        + BUILD
        + value(None)
        + MARK
        + _numpys_text("__class__")
        + name(_NORM)
        + DICT
        + TUPLE2
        + BUILD
        + value({})
        + BUILD,
    ),
    "class-changed-and-hidden": (
        "the same, and the class is taken out of the state again",
        new(_LOSS)
        + value(_STATE)
        + BUILD
        + value(None)
        + value({"__class__": name(_NORM)})
        + b"q\x01"
        + TUPLE2
        + BUILD
        + value({})
        + BUILD
        + b"h\x01"
        + text("__class__")
        + value(None)
        + SETITEM
        + POP,
    ),
}
for _name, (_how, _code) in _STATES.items():
    trusted.add(_name, f"a distribution's template: {_how}", stream(_code))


def _exhausts(short: str, how: str, code: bytes) -> None:
    trusted.add(short, how, stream(code), effect=Effect.EXHAUSTS)


_exhausts(
    "planted-setstate",
    "an attribute of the instance is called by the next BUILD, with any argument",
    build(build(new(_LOSS), {"__setstate__": name("builtins:bytearray")}), 1 << 40),
)
_exhausts(
    "planted-setstate-in-a-namespace",
    "the same in a namespace",
    build(
        build(call("types:SimpleNamespace"), {"__setstate__": name("builtins:bytearray")}), 1 << 40
    ),
)
_exhausts(
    "planted-append",
    "an attribute of the instance is called by APPEND, with any argument",
    build(new(_LOSS), {"append": name("builtins:bytearray")}) + value(1 << 40) + APPEND,
)


def _silenced(_: object) -> None:
    """Leave the marker if what a program logs is lost."""
    import logging

    if logging.getLogger("sealstore").disabled:
        Path(MARKER).touch()


trusted.add(
    "silenced-logger",
    "BUILD on the logger of another, which a trusted call returned",
    stream(build(call("logging:getLogger", "sealstore"), {"disabled": True})),
    when=When.USE,
    use=_silenced,
)
