"""Indirect calls: something that looks harmless calls what it is given."""

from __future__ import annotations

from typing import Final

from tests.attacks.corpus.case import (
    MARKER,
    PYTHON,
    SHELL,
    Collection,
    from_version,
    unless_installed,
)
from tests.attacks.corpus.opcodes import (
    Code,
    build,
    call,
    dropped,
    name,
    partial,
    stack_name,
    stream,
)

_SYSTEM: Final = name("os:system")
_TOUCH: Final = partial("os:system", SHELL)
_LATER: Final = call("builtins:map", _SYSTEM, [SHELL])
_THREAD: Final = call("threading:Thread", None, _SYSTEM, None, (SHELL,))


def _method(method: str, *arguments: object) -> Code:
    return call(stack_name(method), *arguments)


indirect = Collection("indirect-calls")
_CALLERS: Final[dict[str, tuple[str, Code]]] = {
    "operator.call": ("a call as a function", call("operator:call", _SYSTEM, SHELL)),
    "sys.call_tracing": ("a debugger's call", call("sys:call_tracing", _SYSTEM, (SHELL,))),
    "type.__call__": (
        "a constructor, by the method of its metaclass",
        _method("builtins:type.__call__", name("logging:FileHandler"), MARKER),
    ),
    "property.__get__": (
        "a property's getter",
        _method("builtins:property.__get__", call("builtins:property", _SYSTEM), SHELL),
    ),
    "list-of-map": ("an iterator that a list exhausts", call("builtins:list", _LATER)),
    "deque-of-map": ("an iterator that a container exhausts", call("collections:deque", _LATER)),
    "dict-of-zip-of-map": (
        "an iterator that a dict exhausts",
        call("builtins:dict", call("builtins:zip", _LATER, [1])),
    ),
    "numpy.fromiter": ("an iterator that an array exhausts", call("numpy:fromiter", _LATER, "i4")),
    "tuple-of-filter": (
        "a predicate",
        call("builtins:tuple", call("builtins:filter", _SYSTEM, [SHELL])),
    ),
    "starmap": (
        "an iterator over arguments",
        call("builtins:list", call("itertools:starmap", _SYSTEM, [(SHELL,)])),
    ),
    "iter-with-sentinel": (
        "an iterator that calls until it sees a value",
        call("builtins:next", call("builtins:iter", _TOUCH, 1)),
    ),
    "sorted-key": ("a key of sorted", call(partial("builtins:sorted", key=_SYSTEM), [SHELL])),
    "max-key": ("a key of max", call(partial("builtins:max", key=_SYSTEM), [SHELL])),
    "heapq-key": ("a key of nsmallest", call("heapq:nsmallest", 1, [SHELL], _SYSTEM)),
    "json-default": (
        "the hook for what JSON cannot say",
        call(partial("json:dumps", default=_SYSTEM), SHELL.encode()),
    ),
    "functools.reduce": ("a fold", call("functools:reduce", name("builtins:exec"), [PYTHON, {}])),
    "lru-cache": (
        "a cache around the function",
        call(call(call("functools:lru_cache", 1), _SYSTEM), SHELL),
    ),
    "singledispatch": (
        "a generic function around the function",
        call(call("functools:singledispatch", _SYSTEM), SHELL),
    ),
    "copy._reconstruct": (
        "copy's own interpreter of __reduce__",
        call("copy:_reconstruct", None, None, _SYSTEM, (SHELL,)),
    ),
    "copyreg._reconstructor": (
        "protocol 0's constructor calls __init__ of the base",
        call("copyreg:_reconstructor", *[name("logging:FileHandler")] * 2, MARKER),
    ),
    "copyreg.__newobj__": (
        "protocol 2's constructor, of a class whose __new__ makes a file",
        call("copyreg:__newobj__", name("numpy:memmap"), MARKER, "u1", "w+", 0, (1,)),
    ),
    "copyreg.__newobj_ex__": (
        "protocol 4's constructor, of a class whose __new__ makes a file",
        call("copyreg:__newobj_ex__", name("numpy:memmap"), (MARKER, "u1", "w+", 0, (1,)), {}),
    ),
    "thread-run": ("a thread's body", _method("threading:Thread.run", _THREAD)),
    "thread-start": ("a thread", _method("threading:Thread.start", _THREAD)),
    "timer": (
        "a thread, later",
        _method("threading:Timer.start", call("threading:Timer", 0.01, _SYSTEM, (SHELL,))),
    ),
    "raw-thread": (
        "a thread that no one knows",
        call("_thread:start_new_thread", _SYSTEM, (SHELL,)),
    ),
    "thread-pool": (
        "a pool of threads",
        _method(
            "concurrent.futures.thread:ThreadPoolExecutor.submit",
            call("concurrent.futures.thread:ThreadPoolExecutor", 1),
            _SYSTEM,
            SHELL,
        ),
    ),
    "pool-mapstar": (
        "what the workers of a pool do",
        call("multiprocessing.pool:mapstar", (_SYSTEM, [SHELL])),
    ),
    "process-run": (
        "a process's body",
        _method(
            "multiprocessing.process:BaseProcess.run",
            call("multiprocessing.context:Process", None, _SYSTEM, None, (SHELL,)),
        ),
    ),
    "context-run": (
        "a call in another context",
        _method("contextvars:Context.run", call("contextvars:Context"), _SYSTEM, SHELL),
    ),
    "asyncio.run": (
        "a coroutine that calls in a thread",
        call("asyncio:run", call("asyncio:to_thread", _SYSTEM, SHELL)),
    ),
    "unittest-function": (
        "a function as a test case",
        _method("unittest:FunctionTestCase.debug", call("unittest:FunctionTestCase", _TOUCH)),
    ),
    "mock-side-effect": (
        "the side effect of a mock",
        call(call(partial("unittest.mock:Mock", side_effect=_SYSTEM)), SHELL),
    ),
    "trace-runfunc": (
        "a traced call",
        _method("trace:Trace.runfunc", call("trace:Trace", 0, 0), _SYSTEM, SHELL),
    ),
    "profile-runcall": (
        "a measured call",
        _method("cProfile:Profile.runcall", call("cProfile:Profile"), _SYSTEM, SHELL),
    ),
    "timeit-timer": (
        "a timed call",
        _method("timeit:Timer.timeit", call("timeit:Timer", _TOUCH), 1),
    ),
    "weakref-finalize": (
        "a finaliser that is called by hand",
        call(call("weakref:finalize", name("collections:OrderedDict"), _SYSTEM, SHELL)),
    ),
    "numpy.vectorize": ("a vectorised function", call(call("numpy:vectorize", _SYSTEM), SHELL)),
    "numpy.frompyfunc": (
        "a universal function",
        call(call("numpy:frompyfunc", _SYSTEM, 1, 1), SHELL),
    ),
    "numpy.testing.assert_raises": (
        "an assertion that calls",
        call("numpy.testing:assert_raises", name("builtins:ValueError"), _SYSTEM, SHELL),
    ),
    "numpy-generator-constructor": (
        "the constructor that pickles of random generators call takes a callable",
        call("numpy.random._pickle:__generator_ctor", SHELL, _SYSTEM),
    ),
    "pandas-apply-if-callable": (
        "pandas calls what can be called",
        call("pandas.core.common:apply_if_callable", _SYSTEM, SHELL),
    ),
    "pandas-pipe": ("a pipe of functions", call("pandas.core.common:pipe", SHELL, _SYSTEM)),
    "scipy-function-wrapper": (
        "scipy's picklable function",
        call(call("scipy._lib._util:_FunctionWrapper", _SYSTEM, ()), SHELL),
    ),
    "joblib-parallel": (
        "joblib's own loop",
        call(call("joblib.parallel:Parallel", 1), [(_SYSTEM, (SHELL,), {})]),
    ),
    "loky-call-item": (
        "what loky sends to its workers",
        call(call("joblib.externals.loky.process_executor:_CallItem", 1, _SYSTEM, (SHELL,), {})),
    ),
}
for _name, (_how, _code) in _CALLERS.items():
    indirect.add(_name, _how, stream(_code))
_STACK: Final = Code(b"h\x01")
indirect.add(
    "exit-stack",
    "a callback of a context manager",
    stream(
        dropped(
            call("contextlib:ExitStack") + b"q\x01",
            _method("contextlib:ExitStack.callback", _STACK, _SYSTEM, SHELL),
        ),
        _method("contextlib:ExitStack.close", _STACK),
    ),
)
indirect.add(
    "atexit-now",
    "what is to be called at exit, called at once",
    stream(
        dropped(call("atexit:register", _SYSTEM, SHELL)),
        call("atexit:_run_exitfuncs"),
    ),
)
indirect.add(
    "pandas-new-index",
    "the constructor that pickles of indexes call takes a class",
    stream(
        call(
            "pandas.core.indexes.base:_new_Index",
            name("numpy:memmap"),
            {"filename": MARKER, "dtype": "u1", "mode": "w+", "shape": (1,)},
        )
    ),
    dormant=from_version("pandas", 3),
)

own_dependencies = Collection("own-dependencies")
_PY: Final = "neighbour.py"


def _source() -> dict[str, bytes]:
    return {_PY: PYTHON.encode()}


own_dependencies.add(
    "mako-template",
    "Alembic brings Mako, whose templates are Python",
    stream(
        _method("mako.template:Template.render", call("mako.template:Template", f"<% {PYTHON} %>"))
    ),
)
own_dependencies.add(
    "alembic-load-module",
    "Alembic runs its scripts",
    stream(call("alembic.util.pyfiles:load_module_py", "neighbour", _PY)),
    neighbours=_source,
)
own_dependencies.add(
    "sqlalchemy-attrsetter",
    "SQLAlchemy writes code around a name, and runs it",
    stream(call("sqlalchemy.util.langhelpers:attrsetter", f"x=0\n{PYTHON}\nx")),
)
own_dependencies.add(
    "pygments-lexer-file",
    "rich brings Pygments, which runs a lexer's file",
    stream(call("pygments.lexers:load_lexer_from_file", _PY)),
    neighbours=_source,
)
own_dependencies.add(
    "click-edit",
    "click starts an editor, by a shell",
    stream(call("click:edit", "", f"{SHELL}; true")),
)
own_dependencies.add(
    "cffi-execfile",
    "cryptography brings cffi, which runs a build's file",
    stream(call("cffi.setuptools_ext:execfile", _PY, {})),
    neighbours=_source,
)
own_dependencies.add(
    "joblib-testing",
    "joblib's own tests start processes",
    stream(call("joblib.testing:check_subprocess_call", ["touch", MARKER])),
)
own_dependencies.add(
    "setuptools-execfile",
    "setuptools runs a file",
    stream(call("setuptools._distutils.core:run_setup", _PY)),
    neighbours=_source,
    dormant=unless_installed("setuptools"),
)
own_dependencies.add(
    "click-open-file",
    "click opens files",
    stream(call("click:open_file", MARKER, "w")),
)
own_dependencies.add(
    "rich-save-text",
    "rich writes what it has shown",
    stream(
        _method(
            "rich.console:Console.save_text",
            call(partial("rich.console:Console", record=True)),
            MARKER,
        )
    ),
)
own_dependencies.add(
    "pycparser-preprocess",
    "cffi brings pycparser, which starts a compiler",
    stream(call("pycparser:preprocess_file", MARKER, "touch", "")),
    dormant=unless_installed("pycparser"),
)
own_dependencies.add(
    "narwhals-import",
    "scikit-learn brings narwhals, which imports by name",
    stream(
        call(
            call(
                "builtins:getattr", call("narwhals._utils:_import_native_namespace", "os"), "system"
            ),
            SHELL,
        )
    ),
    dormant=unless_installed("narwhals"),
)
own_dependencies.add(
    "typing-extensions-hints",
    "Alembic brings typing-extensions, which evaluates annotations",
    stream(
        call(
            "typing_extensions:get_type_hints",
            call(partial("types:SimpleNamespace", __annotations__={"x": PYTHON})),
        )
    ),
)
own_dependencies.add(
    "typing-extensions-hints-of-a-built-object",
    "the same, of an object that only BUILD has given its annotations",
    stream(
        call(
            "typing_extensions:get_type_hints",
            build(call("types:SimpleNamespace"), {"__annotations__": {"x": PYTHON}}),
        )
    ),
)
own_dependencies.add(
    "lz4-file",
    "lz4, which joblib compresses with, opens files",
    stream(call("lz4.frame:LZ4FrameFile", MARKER, "w")),
    dormant=unless_installed("lz4"),
)
