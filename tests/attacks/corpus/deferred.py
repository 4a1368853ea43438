"""Attacks that wait: for a method of the object, for another part of the program, for its end."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Callable
from typing import Any, Final

from tests.attacks.corpus.case import MARKER, PYTHON, SHELL, Collection, When
from tests.attacks.corpus.opcodes import (
    APPEND,
    POP,
    SETITEM,
    build,
    call,
    dropped,
    name,
    partial,
    stack_name,
    stream,
    text,
    value,
)
from tests.attacks.corpus.positions import dumped

_RUN: Final = partial("cProfile:run", PYTHON)
_PLAIN: Final = call("types:SimpleNamespace")


def _table() -> Any:
    import pandas as pd

    return pd.DataFrame({"x": [1.0, 2.0]})


def _transform(model: Any) -> object:
    return model.transform(_table())


def _predict(model: Any) -> object:
    return model.predict(_table())


# ── objects that fire when they are used ─────────────────────────────────────

objects = Collection("fires-when-used")


def _used(
    short: str, how: str, payload: bytes | Callable[[], bytes], use: Callable[[Any], object]
) -> None:
    objects.add(short, how, payload, when=When.USE, use=use)


def _transformer(function: str) -> Callable[[], Any]:
    def make() -> Any:
        import cProfile
        import functools
        import operator
        import os

        from sklearn.preprocessing import FunctionTransformer

        functions: dict[str, Any] = {
            "eval": functools.partial(eval, PYTHON, {}),
            "run": functools.partial(cProfile.run, PYTHON),
            "spawn": functools.partial(os.spawnlp, os.P_WAIT, "touch", "touch", MARKER),
            "method": operator.methodcaller("to_csv", MARKER),
        }
        return FunctionTransformer(functions[function])

    return make


def _pipeline() -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), _transformer("run")()).fit(_table())


def _vectorizer() -> Any:
    import functools
    import os

    from sklearn.feature_extraction.text import HashingVectorizer

    spawn = functools.partial(os.spawnlp, os.P_WAIT, "touch", "touch", MARKER)
    return HashingVectorizer(preprocessor=spawn)


def _regressor() -> Any:
    import cProfile
    import functools

    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import LinearRegression

    model = TransformedTargetRegressor(LinearRegression())
    model.fit(_table(), [1.0, 2.0])
    model.transformer_.inverse_func = functools.partial(cProfile.run, PYTHON)
    return model


def _planted() -> Any:
    import cProfile
    import functools

    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(_table(), [1.0, 2.0])
    model.predict = functools.partial(cProfile.run, PYTHON)
    return model


def _neighbours() -> Any:
    import cProfile
    import functools

    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(1, algorithm="brute").fit(_table(), [0, 1])
    model.metric = functools.partial(cProfile.run, PYTHON)
    model.effective_metric_ = model.metric
    return model


_used("transformer-eval", "a transformer around eval", dumped(_transformer("eval")), _transform)
_used(
    "transformer-profile",
    "a transformer around a profiler",
    dumped(_transformer("run")),
    _transform,
)
_used(
    "transformer-methodcaller",
    "a transformer that calls a method of whatever it is given: nothing dangerous is named",
    dumped(_transformer("method")),
    _transform,
)
_used("pipeline-step", "a step of a fitted pipeline", dumped(_pipeline), _transform)
_used(
    "vectorizer-preprocessor",
    "what a vectorizer does to each text",
    dumped(_vectorizer),
    lambda model: model.transform(["harmless"]),
)
_used("target-transformer", "what a regressor does to its results", dumped(_regressor), _predict)
_used("metric", "how a classifier measures distances", dumped(_neighbours), _predict)
_used(
    "planted-predict", "an attribute of the instance, before its method", dumped(_planted), _predict
)
_used(
    "bare-partial",
    "a function in a model's place",
    stream(partial("os:system", SHELL)),
    lambda f: f(),
)
_used(
    "default-factory",
    "what a dict calls for a key that it has not",
    stream(call("collections:defaultdict", partial("os:system", SHELL))),
    lambda table: table["x"],
)
_used(
    "getattr-of-a-class",
    "a class that answers for every attribute",
    stream(call(call("builtins:type", "X", (), {"__getattr__": _RUN}))),
    _predict,
)
_used(
    "chain-of-iterators",
    "an iterator that calls when it is exhausted",
    stream(call("builtins:map", name("os:system"), [SHELL])),
    list,
)

# ── traps for the rest of the program ────────────────────────────────────────

traps = Collection("traps-for-the-program")


def _trap(short: str, how: str, payload: bytes, use: Callable[[Any], object], **known: Any) -> None:
    traps.add(short, how, payload, when=When.USE, use=use, **known)


def _log(_: Any) -> None:
    import logging

    logging.getLogger("harmless").error("x")


def _parse(_: Any) -> None:
    import json

    json.loads("{}")


def _run_shell(_: Any) -> None:
    subprocess.run(["/bin/bash", "-c", ":"], check=False)


_trap(
    "reducer",
    "the next pickler calls it",
    stream(name("copyreg:dispatch_table"), name("builtins:complex"), _RUN, SETITEM, POP, value(1)),
    lambda _: pickle.dumps(1j),
)
_trap(
    "delayed-log-file",
    "a log handler that opens its file at the first record",
    stream(
        dropped(
            call(
                stack_name("logging:root.addHandler"),
                call("logging:FileHandler", MARKER, "a", None, True),
            )
        ),
        value(1),
    ),
    _log,
)
_trap(
    "replaced-module",
    "another module under the name of one that the program uses",
    stream(
        name("sys:modules"), text("json"), build(_PLAIN, {"loads": _RUN}), SETITEM, POP, value(1)
    ),
    _parse,
)
_trap(
    "replaced-function",
    "another function in a module that the program uses",
    stream(dropped(build(call("importlib:import_module", "json"), {"loads": _RUN})), value(1)),
    _parse,
)
_trap(
    "environment",
    "a variable that shells obey",
    stream(name("os:environ"), text("BASH_ENV"), text("neighbour.sh"), SETITEM, POP, value(1)),
    _run_shell,
    neighbours=lambda: {"neighbour.sh": SHELL.encode()},
)
_trap(
    "path-of-modules",
    "a folder on the path, for the next import",
    stream(name("sys:path"), text("."), APPEND, POP, value(1)),
    lambda _: __import__("neighbour"),
    neighbours=lambda: {"neighbour.py": PYTHON.encode()},
)

# ── at the end ───────────────────────────────────────────────────────────────

ends = Collection("fires-at-exit")


def _at_exit(short: str, how: str, payload: bytes) -> None:
    ends.add(short, how, payload, when=When.EXIT)


_at_exit(
    "atexit",
    "registered for the interpreter's end",
    stream(call("atexit:register", name("os:system"), SHELL)),
)
_at_exit(
    "weakref-finalize",
    "a finaliser, which also runs at the end",
    stream(
        dropped(
            call("weakref:finalize", name("collections:OrderedDict"), name("os:system"), SHELL)
        ),
        value(1),
    ),
)
_at_exit(
    "multiprocessing-finalize",
    "a finaliser of multiprocessing",
    stream(
        dropped(call("multiprocessing.util:Finalize", None, name("os:system"), (SHELL,), None, 1)),
        value(1),
    ),
)
_at_exit(
    "del",
    "a class whose instances fire when they go",
    stream(call(call("builtins:type", "X", (), {"__del__": partial("os:system", SHELL)}))),
)
_at_exit(
    "threading-atexit",
    "registered for the end of threads",
    stream(dropped(call("threading:_register_atexit", name("os:system"), SHELL)), value(1)),
)
