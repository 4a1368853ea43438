"""Names that are resolved at load time, so that the dangerous one stands nowhere as such."""

from __future__ import annotations

from typing import Final

from tests.attacks.corpus.case import (
    MARKER,
    PYTHON,
    SHELL,
    Collection,
    before_version,
    unless_installed,
)
from tests.attacks.corpus.opcodes import Code, call, name, partial, stack_name, stream

_OS: Final = call("builtins:__import__", "os")


def _attribute(module: Code, attribute: str = "system") -> Code:
    return call("builtins:getattr", module, attribute)


resolution = Collection("name-resolution")
_RESOLVERS: Final[dict[str, tuple[str, Code]]] = {
    "getattr": ("an attribute by its name", _attribute(_OS)),
    "getattribute": (
        "an attribute by its name, through object's own method",
        call(stack_name("builtins:object.__getattribute__"), _OS, "system"),
    ),
    "attrgetter": (
        "an attribute by its name, through an object that is called",
        call(call("operator:attrgetter", "system"), _OS),
    ),
    "attrgetter-dotted": (
        "a path of attributes",
        call(call("operator:attrgetter", "path.os.system"), _OS),
    ),
    "itemgetter-of-a-namespace": (
        "an item of a module's dictionary",
        call(call("operator:itemgetter", "system"), call("builtins:vars", _OS)),
    ),
    "getitem-of-sys-modules": (
        "a module out of the table of modules",
        _attribute(call("operator:getitem", name("sys:modules"), "os")),
    ),
    "get-of-sys-modules": (
        "a module out of the table of modules, by a dotted name",
        _attribute(call(stack_name("sys:modules.get"), "os")),
    ),
    "import-module": ("a module by its name", _attribute(call("importlib:import_module", "os"))),
    "importlib-import": (
        "a module by its name, by importlib's own __import__",
        _attribute(call("importlib:__import__", "os")),
    ),
    "gcd-import": (
        "a module by its name, by the import system's inside",
        _attribute(call("importlib._bootstrap:_gcd_import", "os")),
    ),
    "reduce-over-getattr": (
        "getattr, folded over a list of names",
        call("functools:reduce", name("builtins:getattr"), ["path", "os", "system"], _OS),
    ),
    "pkgutil-resolve-name": (
        "a name in a text, resolved as an entry point is",
        call("pkgutil:resolve_name", "os:system"),
    ),
    "pydoc-locate": (
        "a name in a text, resolved as the documentation browser does",
        call("pydoc:locate", "os.system"),
    ),
    "logging-configurator": (
        "a name in a text, resolved as logging's configuration does",
        call(
            stack_name("logging.config:BaseConfigurator.resolve"),
            call("logging.config:BaseConfigurator", {}),
            "os.system",
        ),
    ),
    "xmlrpc-dotted-attribute": (
        "a path of attributes, resolved as the server does",
        call("xmlrpc.server:resolve_dotted_attribute", _OS, "system"),
    ),
    "inspect-getattr-static": (
        "an attribute by its name, without descriptors",
        call("inspect:getattr_static", _OS, "system"),
    ),
    "string-formatter": (
        "a field of a format string",
        call(
            call("operator:itemgetter", 0),
            call(
                stack_name("string:Formatter.get_field"),
                call("string:Formatter"),
                "0.system",
                (_OS,),
                {},
            ),
        ),
    ),
    "pandas-optional-dependency": (
        "a module by its name, by pandas",
        _attribute(call("pandas.compat._optional:import_optional_dependency", "os")),
    ),
    "unpickler-find-class": (
        "a name by a second unpickler",
        call(
            stack_name("pickle:Unpickler.find_class"),
            call("pickle:Unpickler", call("io:BytesIO")),
            "os",
            "system",
        ),
    ),
    "globals-of-a-function": (
        "a module out of the global names of a function",
        _attribute(call(stack_name("shutil:copyfile.__globals__.get"), "os")),
    ),
    "partial": ("the target inside a partial", partial("os:system")),
    "partial-of-getattr": (
        "getattr inside a partial",
        call(partial("builtins:getattr", _OS), "system"),
    ),
}
for _name, (_how, _resolved) in _RESOLVERS.items():
    resolution.add(_name, _how, stream(call(_resolved, SHELL)))
resolution.add(
    "methodcaller",
    "a method by its name, by the object that also calls it",
    stream(call(call("operator:methodcaller", "system", SHELL), _OS)),
)
resolution.add(
    "bound-method",
    "a method made by hand, called without arguments",
    stream(call(call("types:MethodType", name("os:system"), SHELL))),
)
resolution.add(
    "class-made-by-type",
    "a class whose constructor is another callable",
    stream(call(call("builtins:type", "X", (), {"__init__": partial("os:mkdir", MARKER)}))),
)
resolution.add(
    "builtins-of-a-trusted-module",
    "each module holds the built-in functions as __builtins__",
    stream(call(call(stack_name("collections:__builtins__.get"), "eval"), PYTHON)),
)
for _package in ("cloudpickle", "joblib.externals.cloudpickle"):
    resolution.add(
        f"{_package}-subimport",
        "a module by its name, by cloudpickle",
        stream(call(_attribute(call(f"{_package}.cloudpickle:subimport", "os")), SHELL)),
        dormant=unless_installed(_package),
    )
_SUBCLASSES: Final = call(stack_name("builtins:object.__subclasses__"))
_THEIR_NAMES: Final = call("builtins:map", call("operator:attrgetter", "__name__"), _SUBCLASSES)
resolution.add(
    "subclasses-of-object",
    "a class by its name, out of the list of all that there are",
    stream(
        call(
            call(
                "operator:getitem",
                call("builtins:dict", call("builtins:zip", _THEIR_NAMES, _SUBCLASSES)),
                "Popen",
            ),
            ["touch", MARKER],
        )
    ),
)

reexports = Collection("re-exports")
_REEXPORTS: Final = {
    "sklearn.utils._testing:os.system": SHELL,
    "sklearn.datasets._base:os.system": SHELL,
    "joblib.numpy_pickle:os.system": SHELL,
    "joblib:os.system": SHELL,
    "numpy.testing._private.utils:os.system": SHELL,
    "numpy:f2py.crackfortran.myeval": PYTHON,
    "pandas.io.common:os.system": SHELL,
    "scipy._lib._util:np.testing.measure": PYTHON,
    "sklearn.base:np.testing.measure": PYTHON,
    "random:_os.system": SHELL,
    "logging:os.system": SHELL,
    "tempfile:_os.system": SHELL,
}
for _target, _argument in _REEXPORTS.items():
    reexports.add(
        _target.replace(":", "."),
        "another module's name, through one that models need",
        stream(call(stack_name(_target), _argument)),
    )
for _target, _argument in {
    "numpy._core.records:os.system": SHELL,
    "numpy._core.numeric:builtins.eval": PYTHON,
}.items():
    reexports.add(
        _target.replace(":", "."),
        "another module's name, through numpy's own inside",
        stream(call(stack_name(_target), _argument)),
        dormant=before_version("numpy", 2),
    )
reexports.add(
    "numpy.testing.runstring",
    "a function that runs source, through the package that uses it",
    stream(call(stack_name("numpy:testing._private.utils.runstring"), PYTHON, {})),
)
reexports.add(
    "sys-through-collections",
    "the table of modules, through one that models need",
    stream(call(_attribute(call(stack_name("collections:_sys.modules.get"), "os")), SHELL)),
)
reexports.add(
    "loader-of-a-trusted-module",
    "each module holds its loader, which writes files too",
    stream(call(stack_name("collections:__loader__.set_data"), MARKER, b"")),
)
reexports.add(
    "module-and-attribute-before-protocol-4",
    "the module is an attribute of another: GLOBAL, then getattr",
    stream(call(_attribute(name("sklearn.utils._testing:os")), SHELL), protocol=2),
)
