"""Methods that opcodes call on what stands on the stack, and patches of what was there before."""

from __future__ import annotations

from typing import Any, Final

from tests.attacks.corpus.arrays import wrapper
from tests.attacks.corpus.case import MARKER, PYTHON, SHELL, Collection
from tests.attacks.corpus.opcodes import (
    ADDITEMS,
    APPEND,
    BUILD,
    EMPTY_DICT,
    EMPTY_SET,
    MARK,
    POP,
    REDUCE,
    SETITEM,
    SETITEMS,
    Code,
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

_ARGUMENT: Final = value((SHELL,))
_ARRAY: Final = wrapper() + bytes(16)

# ── hooks ────────────────────────────────────────────────────────────────────

hooks = Collection("hooks")
_PLAIN: Final = call("types:SimpleNamespace")
_SYSTEM: Final = name("os:system")


def _namespace(**attributes: Any) -> Code:
    return build(_PLAIN, attributes)


def _instance(base: str, arguments: tuple[Any, ...] = (), **attributes: Any) -> Code:
    """An instance of a new class with these attributes; functions of C are not bound to it."""
    return call(call("builtins:type", "X", (name(base),), attributes), *arguments)


hooks.add(
    "planted-setstate",
    "BUILD calls a __setstate__ that an earlier BUILD has planted",
    stream(build(_namespace(__setstate__=_SYSTEM), SHELL)),
)
hooks.add(
    "planted-append",
    "APPEND calls an append that BUILD has planted",
    stream(_namespace(append=_SYSTEM), text(SHELL), APPEND),
)
hooks.add(
    "planted-append-by-appends",
    "APPENDS calls an append that BUILD has planted",
    stream(_namespace(append=_SYSTEM), MARK, text(SHELL), b"e"),
)
hooks.add(
    "planted-add",
    "ADDITEMS calls an add that BUILD has planted",
    stream(_namespace(add=_SYSTEM), MARK, text(SHELL), ADDITEMS),
)
hooks.add(
    "planted-items",
    "BUILD asks the state for its items",
    stream(_PLAIN, _namespace(items=partial("os:system", SHELL)), BUILD),
)
hooks.add(
    "list-subclass",
    "APPEND on a subclass of list",
    stream(_instance("builtins:list", append=_SYSTEM), text(SHELL), APPEND),
)
hooks.add(
    "dict-subclass",
    "SETITEM on a subclass of dict",
    stream(
        _instance("builtins:dict", __setitem__=name("builtins:exec")),
        text(PYTHON),
        EMPTY_DICT,
        SETITEM,
    ),
)
hooks.add(
    "dict-subclass-setitems",
    "SETITEMS on a subclass of dict",
    stream(
        _instance("builtins:dict", __setitem__=name("builtins:exec")),
        MARK,
        text(PYTHON),
        EMPTY_DICT,
        SETITEMS,
    ),
)
hooks.add(
    "set-subclass",
    "ADDITEMS hashes what it adds",
    stream(
        EMPTY_SET,
        MARK,
        _instance("builtins:object", __hash__=partial("os:system", SHELL)),
        ADDITEMS,
    ),
)
hooks.add(
    "hash-of-a-key",
    "SETITEM hashes the key",
    stream(
        EMPTY_DICT,
        _instance("builtins:object", __hash__=partial("os:system", SHELL)),
        value(1),
        SETITEM,
    ),
)
hooks.add(
    "setattr-of-a-slot",
    "BUILD sets attributes, by the class's own __setattr__",
    stream(
        build(_instance("builtins:object", __setattr__=name("builtins:exec")), (None, {PYTHON: {}}))
    ),
)
hooks.add(
    "callable-instance",
    "REDUCE calls an instance",
    stream(_instance("builtins:object", __call__=_SYSTEM), _ARGUMENT, REDUCE),
)
hooks.add(
    "shelf-setitem",
    "SETITEM on a shelf writes a file",
    stream(call("shelve:DbfilenameShelf", MARKER), text("x"), value(1), SETITEM),
)
hooks.add(
    "length-of-arguments",
    "unpacking a sequence of arguments iterates over it",
    stream(name("os:system"), call("builtins:map", name("builtins:str"), [SHELL]), REDUCE),
)

# ── BUILD and SETITEMS on what is not the stream's own ───────────────────────

patches = Collection("patches")


patches.add(
    "class-by-build",
    "BUILD sets an attribute of a class, which the next array calls",
    stream(
        dropped(
            build(
                name("joblib.numpy_pickle:NumpyArrayWrapper"),
                (None, {"safe_get_numpy_array_alignment_bytes": partial("os:mkdir", MARKER)}),
            )
        ),
        _ARRAY,
    ),
)
patches.add(
    "module-by-build",
    "BUILD updates a module, which the next array calls into",
    stream(
        dropped(
            build(
                name("joblib:numpy_pickle"),
                {"_ensure_native_byte_order": call("operator:methodcaller", "tofile", MARKER)},
            )
        ),
        _ARRAY,
    ),
)
patches.add(
    "globals-by-setitem",
    "SETITEM on a function's global names",
    stream(
        stack_name("joblib.numpy_pickle:dump.__globals__"),
        text("_ensure_native_byte_order"),
        call("operator:methodcaller", "tofile", MARKER),
        SETITEM,
        POP,
        _ARRAY,
    ),
)
patches.add(
    "builtins-by-setitem",
    "SETITEM on the built-in names",
    stream(
        stack_name("builtins:__dict__"),
        text("print"),
        _SYSTEM,
        SETITEM,
        POP,
        call("builtins:print", SHELL),
    ),
)
patches.add(
    "sys-modules-by-setitem",
    "SETITEM on the table of modules",
    stream(
        name("sys:modules"),
        text("harmless"),
        _namespace(run=_SYSTEM),
        SETITEM,
        POP,
        call("harmless:run", SHELL),
    ),
)
patches.add(
    "path-hooks-by-append",
    "APPEND on the hooks of the import system, then a name that is nowhere",
    stream(
        name("sys:path_hooks"),
        _SYSTEM,
        APPEND,
        POP,
        name("sys:path"),
        text(SHELL),
        APPEND,
        POP,
        name("nowhere:x"),
    ),
)
patches.add(
    "persistent-load-by-build",
    "BUILD gives the unpickler's class a persistent_load",
    stream(
        dropped(build(name("pickle:_Unpickler"), (None, {"persistent_load": _SYSTEM}))),
        text(SHELL),
        b"Q",
    ),
)
patches.add(
    "class-of-an-instance",
    "BUILD changes the class of an instance",
    stream(
        dropped(
            build(
                _instance("builtins:object"),
                (
                    None,
                    {
                        "__class__": call(
                            "builtins:type",
                            "Y",
                            (name("builtins:object"),),
                            {"__setstate__": _SYSTEM},
                        )
                    },
                ),
            )
            + value(SHELL)
            + BUILD,
        ),
        value(1),
    ),
)
patches.add(
    "keylog-file",
    "BUILD sets an attribute whose setter opens a file",
    stream(build(call("ssl:create_default_context"), (None, {"keylog_filename": MARKER}))),
)
patches.add(
    "function-defaults",
    "BUILD changes a function's defaults",
    stream(
        dropped(
            build(
                name("timeit:timeit"),
                (None, {"__defaults__": (PYTHON, "pass", name("time:time"), 1, None)}),
            )
        ),
        call("timeit:timeit"),
    ),
)
