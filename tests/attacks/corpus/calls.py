"""Direct calls: a stream names what runs code, and calls it."""

from __future__ import annotations

import marshal
from functools import partial as partial_of
from typing import Any, Final

from tests.attacks.corpus.case import (
    MARKER,
    PYTHON,
    SHELL,
    Collection,
    before_version,
    from_python,
    from_version,
    unless_installed,
)
from tests.attacks.corpus.opcodes import call, name, partial, stream

TOUCH: Final = ["touch", MARKER]

processes = Collection("processes")
_PROCESSES: Final[dict[str, tuple[Any, ...]]] = {
    "os:system": (SHELL,),
    "posix:system": (SHELL,),
    "subprocess:run": (TOUCH,),
    "subprocess:call": (TOUCH,),
    "subprocess:check_call": (TOUCH,),
    "subprocess:check_output": (TOUCH,),
    "subprocess:Popen": (TOUCH,),
    "subprocess:getoutput": (SHELL,),
    "subprocess:getstatusoutput": (SHELL,),
    "os:spawnlp": (0, "touch", *TOUCH),
    "os:spawnvp": (0, "touch", TOUCH),
    "os:posix_spawnp": ("touch", TOUCH, {}),
    "os:execlp": ("touch", *TOUCH),
    "os:execvp": ("touch", TOUCH),
    "pty:spawn": (TOUCH,),
    "pydoc:pipepager": ("", SHELL),
    "pydoc:tempfilepager": ("", SHELL),
    "uuid:_get_command_stdout": ("touch", MARKER),
    "multiprocessing.util:spawnv_passfds": (b"/usr/bin/env", [b"env", b"touch", b"fired"], ()),
}
for _target, _arguments in _PROCESSES.items():
    processes.add(_target.replace(":", "."), "starts a process", stream(call(_target, *_arguments)))
processes.add("os.popen", "starts a process, and reads it", stream(call("os:popen", SHELL)))
_FORK_EXEC: Final = "joblib.externals.loky.backend.fork_exec:fork_exec"
processes.add(
    "loky-fork-exec",
    "joblib's own way to start its workers",
    stream(call(_FORK_EXEC, ["/usr/bin/env", *TOUCH], ())),
    dormant=before_version("joblib", 1, 5),
)
processes.add(
    "loky-fork-exec-of-python",
    "joblib's own way to start its workers, which are always Python's",
    stream(call(_FORK_EXEC, ["python", "-c", PYTHON], ())),
    dormant=from_version("joblib", 1, 5),
)
processes.add(
    "distutils.spawn.spawn",
    "a build tool that starts a process",
    stream(call("distutils.spawn:spawn", TOUCH)),
    dormant=from_python(3, 12),
)
processes.add(
    "asyncio-subprocess",
    "the event loop starts the process",
    stream(
        call(
            "asyncio.unix_events:_UnixSubprocessTransport._start",
            call("types:SimpleNamespace"),
            TOUCH,
            False,
            None,
            None,
            None,
            0,
        )
    ),
)
processes.add(
    "ctypes-of-the-c-library",
    "opens the C library and looks up its function",
    stream(call(call("builtins:getattr", call("ctypes:CDLL", None), "system"), SHELL.encode())),
)
processes.add(
    "pip-runs-a-command",
    "the installer's own way to start a process",
    stream(
        call(partial("pip._internal.utils.subprocess:call_subprocess", command_desc="x"), TOUCH)
    ),
    dormant=unless_installed("pip"),
)
processes.add(
    "python-2-name-of-subprocess",
    "protocol 0 names a module as Python 2 did",
    stream(call("commands:getoutput", SHELL), protocol=0),
)


def _marshalled(source: str) -> bytes:
    return marshal.dumps(compile(source, "x", "exec"))


interpreters = Collection("interpreters")
_COMPILED: Final = call("builtins:compile", PYTHON, "x", "exec")
_INTERPRETERS: Final[dict[str, tuple[Any, ...]]] = {
    "builtins:exec": (PYTHON,),
    "builtins:eval": (PYTHON,),
    "timeit:timeit": (PYTHON, "pass", name("time:perf_counter"), 1),
    "timeit:repeat": (PYTHON, "pass", name("time:perf_counter"), 1, 1),
    "timeit:main": (["-n1", "-r1", PYTHON],),
    "cProfile:run": (PYTHON,),
    "profile:run": (PYTHON,),
    "cProfile:runctx": (PYTHON, {}, {}),
    "bdb:Bdb.run": (call("bdb:Bdb"), PYTHON, {}),
    "trace:Trace.run": (call("trace:Trace", 0, 0), PYTHON),
    "code:InteractiveInterpreter.runsource": (call("code:InteractiveInterpreter"), PYTHON),
    "code:InteractiveInterpreter.runcode": (call("code:InteractiveInterpreter"), _COMPILED),
    "code:InteractiveConsole.push": (call("code:InteractiveConsole"), PYTHON),
    "doctest:debug_script": (PYTHON, True),
    "runpy:_run_code": (_COMPILED, {}),
    "runpy:_run_module_code": (_COMPILED, {}, "x"),
    "typing:get_type_hints": (call("builtins:type", "X", (), {"__annotations__": {"x": PYTHON}}),),
    "numpy.testing._private.utils:runstring": (PYTHON, {}),
    "numpy.testing:measure": (PYTHON, 1),
    "numpy.f2py.crackfortran:myeval": (PYTHON,),
    "numpy.f2py.crackfortran:param_eval": (PYTHON, {}, {}),
}
for _target, _arguments in _INTERPRETERS.items():
    interpreters.add(
        _target.replace(":", "."), "runs Python source", stream(call(_target, *_arguments))
    )
interpreters.add(
    "dataclasses._create_fn",
    "source is assembled from a default value",
    stream(call("dataclasses:_create_fn", "f", (f"x=[{PYTHON}]",), ("pass",))),
    dormant=from_python(3, 13),
)
interpreters.add(
    "idlelib.calltip.get_entity",
    "the editor's call tips evaluate what they explain",
    stream(call("idlelib.calltip:get_entity", PYTHON)),
    dormant=unless_installed("idlelib"),
)
interpreters.add(
    "lib2to3-make-label",
    "a grammar's label is evaluated",
    stream(
        call(
            "lib2to3.pgen2.pgen:ParserGenerator.make_label",
            None,
            call("lib2to3.pgen2.grammar:Grammar"),
            f"'' + {PYTHON}",
        )
    ),
    dormant=from_python(3, 13),
)
interpreters.add(
    "function-from-code",
    "a function is made of a code object, and called",
    stream(call(call("types:FunctionType", _COMPILED, {}))),
)
interpreters.add(
    "marshalled-code",
    "the code object arrives as marshal's bytes",
    lambda: stream(call("builtins:exec", call("marshal:loads", _marshalled(PYTHON)))),
)


def _cloudpickled(package: str) -> bytes:
    function = call(
        f"{package}.cloudpickle:_make_function",
        call("marshal:loads", _marshalled(PYTHON)),
        {},
        None,
        None,
        None,
    )
    return stream(call(function))


for _package in ("cloudpickle", "joblib.externals.cloudpickle"):
    interpreters.add(
        f"{_package}-function",
        "cloudpickle's own way to make a function",
        partial_of(_cloudpickled, _package),
        dormant=unless_installed(_package),
    )
