"""Attacks on the policy: denied names, and trusted ones that are turned against the loader.

``denied_names.txt`` lists, apart from the denylist itself, a name for each of its entries: whoever
takes an entry out, is told that name by a test.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from sealstore import errors
from sealstore.formats.pickling import allowlist
from sealstore.formats.pickling.allowlist import NAMED
from sealstore.formats.pickling.denylist import denylist
from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory
from sealstore.formats.pickling.instance_states import WITH_ANOTHER_TEMPLATE
from sealstore.formats.pickling.policy import Policy
from sealstore.formats.pickling.verdicts import Entry, Level, Source, Verdict, is_name
from sealstore.signed.statement import Import, ImportUse
from tests.matrix import each_row

DENIED = (Path(__file__).parent / "denied_names.txt").read_text("utf-8").splitlines()
DATA = Path(allowlist.__file__).parent / "data"
POLICY = Policy()
ESTIMATOR = "sklearn.linear_model._logistic:LogisticRegression"


def entry(name: str, use: str = NAMED, arguments: tuple[str, ...] | None = None) -> Import:
    uses = () if use == NAMED else (ImportUse(use, arguments),)  # type: ignore[arg-type] # a use, as in a statement
    return Import(name, uses)


def verdict(*entries: Import) -> Verdict:
    """What the standard policy thinks of the first of these; its check must come to the same."""
    judged = POLICY.judge(entries)
    try:
        POLICY.check(entries)
    except errors.PolicyError:
        assert any(each.is_refused for each in judged)
    else:
        assert not any(each.is_refused for each in judged)
    return judged[0]


def verdicts_on(payload: bytes) -> list[Verdict]:
    """What the standard policy thinks of a payload's imports."""
    return list(POLICY.judge(imports_to_sign(inspect_memory(memoryview(bytearray(payload))))))


def modules_above(module: str) -> set[str]:
    """The packages that a module lies in."""
    return {module[:at] for at, character in enumerate(module) if character == "."}


# ── the denylist ─────────────────────────────────────────────────────────────


@each_row("text", DENIED)
def test_each_denied_name_is_refused_for_its_own_reason(text: str) -> None:
    """A name stays dangerous for what it does, not only because nobody listed it as trusted."""
    denied = Entry.parse(text)
    for use in [denied.use] if denied.use else [NAMED, "called"]:
        judged = verdict(entry(denied.name, use, ()))
        assert (judged.level, judged.source) == (Level.DANGEROUS, Source.DENYLIST)
        assert judged.is_refused


def test_there_is_a_denied_name_for_each_entry_and_an_entry_for_each() -> None:
    """Both lists are whole, and no entry hides behind a wider one."""
    denylist = json.loads((DATA / "denylist.json").read_text("utf-8"))
    modules = {f"{module}.below:Anything" for module in denylist["modules"]}
    assert sorted(modules | denylist["names"].keys()) == sorted(DENIED)
    for module in denylist["modules"]:
        assert not modules_above(module) & denylist["modules"].keys(), module
    for text in denylist["names"]:
        module = text.partition(":")[0]
        assert not (modules_above(module) | {module}) & denylist["modules"].keys(), text


def test_every_denial_has_a_reason_that_follows_the_word_it() -> None:
    """Each reason reads as a sentence about the name."""
    denylist = json.loads((DATA / "denylist.json").read_text("utf-8"))
    for reason in {*denylist["modules"].values(), *denylist["names"].values()}:
        first = reason.split()[0].rstrip(",")
        assert first.endswith("s"), reason
        assert not reason.endswith("."), reason


@each_row(
    "name",
    [
        "sklearn.utils._testing:os.system",
        "numpy.testing._private.utils:runstring",
        "pandas.io.pickle:read_pickle",
        "numpy.f2py.crackfortran:getlincoef",
        "logging.config:DictConfigurator",
        "torch.serialization:load",
        "six.moves:builtins.eval",
        "joblib.externals.loky.backend.popen_loky_posix:Popen",
        "multiprocessing.util:spawnv_passfds",
        "idlelib.pyshell:ModifiedInterpreter.runcommand",
        "pydoc:pipepager",
        "sealstore.repository.facade:Repository.remove",
        "click:edit",
        "pygments.lexers:load_lexer_from_file",
    ],
)
def test_dangerous_names_beneath_a_denied_module_are_refused(name: str) -> None:
    """A denied module takes everything beneath it along."""
    assert verdict(entry(name, "called", ())).source is Source.DENYLIST


# ── arguments that are pinned by hand ────────────────────────────────────────

GOOD_ARGUMENTS = [
    ("_codecs:encode", "called", ("str", "str 'latin1'")),
    ("array:array", "called", ("str 'd'", "list")),
    ("builtins:bytearray", "called", ()),
    ("builtins:bytearray", "called", ("bytes",)),
    ("builtins:bytes", "called", ()),
    ("builtins:frozenset", "called", ("list",)),
    ("builtins:getattr", "called", ("global mine:Outer", "str 'Inner'")),
    (
        "builtins:getattr",
        "called",
        ("made scipy.stats._discrete_distns:randint_gen", "str '_entropy'"),
    ),
    ("builtins:set", "called", ("list",)),
    ("builtins:type", "called", ("none",)),
    ("builtins:type", "called", ("global builtins:Ellipsis",)),
    ("builtins:type", "called", ("global builtins:NotImplemented",)),
    ("collections:Counter", "called", ("dict",)),
    ("collections:OrderedDict", "called", ()),
    ("collections:defaultdict", "called", ()),
    ("collections:defaultdict", "called", ("global builtins:list",)),
    ("collections:defaultdict", "called", ("result functools:partial",)),
    ("collections:deque", "called", ()),
    ("collections:deque", "called", ("tuple",)),
    ("collections:deque", "called", ("tuple", "int 3")),
    ("copyreg:_reconstructor", "called", (f"global {ESTIMATOR}", "global builtins:object", "none")),
    ("copyreg:_reconstructor", "called", ("other", "global builtins:object", "none")),
    ("copyreg:_reconstructor", "called", ("global mine:A", "global builtins:dict", "dict")),
    ("copyreg:_reconstructor", "called", ("global mine:A", "global builtins:list", "list")),
    ("copyreg:_reconstructor", "called", ("global mine:A", "global builtins:tuple", "tuple")),
    ("copyreg:_reconstructor", "called", ("global mine:A", "global builtins:float", "float")),
    ("copyreg:_reconstructor", "called", ("global mine:A", "global builtins:int", "int 1")),
    ("copyreg:_reconstructor", "called", ("global mine:A", "global builtins:str", "str 'a'")),
    ("fractions:Fraction", "called", ("fraction",)),
    ("functools:partial", "called", ("global numpy:clip",)),
    ("functools:partial", "built", ("global numpy:clip", "tuple", "dict", "none")),
    ("functools:partial", "built", ("global numpy:clip", "tuple", "dict", "dict")),
    ("functools:partial", "built", ("global numpy:clip", "tuple", "none", "none")),
    ("logging:getLogger", "called", ()),
    ("logging:getLogger", "called", ("str 'mine'",)),
    ("numpy:ndarray", "called", ("tuple", "dtype", "bytearray")),
    ("numpy:ndarray", "called", ("tuple", "dtype", "bytearray", "int 0", "none", "str 'F'")),
    ("operator:itemgetter", "called", ("str 'age'",)),
    ("operator:itemgetter", "called", ("int 1",)),
    ("operator:itemgetter", "called", ("str 'age'", "str 'sex'")),
    ("operator:itemgetter", "called", ("int 1", "int 2")),
    ("re:_compile", "called", ("pattern", "int")),
]
"""For each alternative of ``pinned.json``, arguments that no other alternative fits."""

BAD_ARGUMENTS = [
    ("_codecs:encode", "called", ("str 'a'", "str 'zlib'")),
    ("_codecs:encode", "called", ("str 'a'", "str 'latin1' and more")),
    ("_codecs:encode", "called", ("bytes", "str 'latin1'")),
    ("_codecs:encode", "called", ("str 'a'",)),
    ("array:array", "called", ("str 'd'", "result builtins:range")),
    ("builtins:bytearray", "called", ("int 1000000000000",)),
    ("builtins:bytes", "called", ("int 1000000000000",)),
    ("builtins:frozenset", "called", ("result builtins:range",)),
    ("builtins:getattr", "called", ("result mine:make", "str 'system'")),
    ("builtins:getattr", "called", ("made mine:Thing", "str 'system'")),
    ("builtins:getattr", "called", ("made mine:Thing", "str '__globals__'")),
    ("builtins:getattr", "called", ("global mine:Outer", "result mine:make")),
    ("builtins:getattr", "called", ("global os:path", "str 'sys'")),
    ("builtins:getattr", "called", ("global mine:Outer", "str 'Inner'", "none")),
    ("builtins:getattr", "called", ("str 'x'", "str 'join'")),
    ("builtins:getattr", NAMED, None),
    ("builtins:getattr", "result-called", ()),
    ("builtins:set", "called", ("result builtins:range",)),
    ("builtins:type", "called", ("str 'X'", "tuple", "dict")),
    ("builtins:type", "called", ("global mine:Thing",)),
    ("builtins:type", "called", ("made mine:Thing",)),
    ("builtins:type", NAMED, None),
    ("collections:Counter", "called", ("result builtins:range",)),
    ("collections:OrderedDict", "called", ("result mine:endless",)),
    ("collections:defaultdict", "called", ("result mine:make",)),
    ("collections:defaultdict", "called", ("global os:getpid",)),
    ("collections:deque", "called", ("result builtins:range",)),
    ("copyreg:_reconstructor", "called", ("global mine:A", "global mine:B", "none")),
    ("copyreg:_reconstructor", "called", ("result mine:a", "global builtins:object", "none")),
    ("copyreg:_reconstructor", "called", ("global os:X", "global builtins:object", "none")),
    ("copyreg:_reconstructor", NAMED, None),
    ("fractions:Fraction", "called", ("str '1e999999999'",)),
    ("fractions:Fraction", "called", ("result decimal:Decimal",)),
    ("fractions:Fraction", NAMED, None),
    ("functools:partial", "called", ("global numpy:memmap",)),
    ("functools:partial", "called", ("global os:system",)),
    ("functools:partial", "called", ("global builtins:getattr",)),
    ("functools:partial", "called", ("made mine:Thing",)),
    ("functools:partial", "called", ("global numpy:clip", "int 1")),
    ("functools:partial", "built", ("global os:system", "tuple", "dict", "none")),
    ("functools:partial", "built", ("result builtins:getattr", "tuple", "dict", "none")),
    ("functools:partial", "built", ("dict",)),
    ("functools:partial", "result-called", ()),
    ("functools:partial", "extended", None),
    ("logging:getLogger", "called", ("global mine:Thing",)),
    ("logging:getLogger", "built", ("dict",)),
    ("numpy:ndarray", "called", ("tuple",)),
    ("numpy:ndarray", "called", ("tuple", "dtype", "bytes")),
    ("numpy:ndarray", "called", ("tuple", "dtype", "bytearray", "int 8", "none", "str 'F'")),
    ("numpy:ndarray", "called", ("tuple", "dtype", "bytearray", "int 0", "tuple", "str 'F'")),
    ("numpy:ndarray", "made", ("tuple",)),
    ("operator:itemgetter", "called", ("result mine:make",)),
    ("operator:itemgetter", NAMED, None),
    ("re:_compile", "called", ("str '((((' and more", "int 0")),
    ("re:_compile", "called", ("str 'x'", "result re:RegexFlag")),
    ("re:_compile", NAMED, None),
]
"""For each entry of ``pinned.json``, arguments and uses that turn it against the loader."""


@each_row(("name", "use", "arguments"), GOOD_ARGUMENTS)
def test_arguments_that_picklers_write_are_trusted(
    name: str, use: str, arguments: tuple[str, ...]
) -> None:
    """Each alternative lets through what it was written for."""
    judged = verdict(entry(name, use, arguments))
    assert (judged.level, judged.source) == (Level.TRUSTED, Source.ALLOWLIST), judged.reason


@each_row(("name", "use", "arguments"), BAD_ARGUMENTS)
def test_arguments_that_turn_a_trusted_name_against_the_loader_are_refused(
    name: str, use: str, arguments: tuple[str, ...] | None
) -> None:
    """What the name is trusted with is all that it is trusted with."""
    judged = verdict(entry(name, use, arguments))
    assert (judged.level, judged.source) == (Level.DANGEROUS, Source.ARGUMENTS)
    assert judged.is_refused


def test_each_pinned_alternative_has_arguments_of_its_own() -> None:
    """Whoever takes an alternative out of pinned.json fails a test."""
    pinned = json.loads((DATA / "pinned.json").read_text("utf-8"))["names"]
    alternatives = [
        (name, use)
        for name, known in pinned.items()
        for use, lists in known["uses"].items()
        if lists is not None
        for _ in lists
    ]
    assert sorted(alternatives) == sorted((name, use) for name, use, _ in GOOD_ARGUMENTS)
    unpinned = {"numpy:dtype"}  # inspection judges its arguments itself
    assert {name for name, _, _ in BAD_ARGUMENTS} == pinned.keys() - unpinned


@each_row("name", sorted({name for name, _, _ in GOOD_ARGUMENTS}))
def test_arguments_that_are_not_on_record_are_not_trusted(name: str) -> None:
    """Too many to tell apart, or recorded by a release that kept none: they are refused."""
    judged = verdict(entry(name, "called", None))
    assert (judged.level, judged.source, judged.lacks_arguments) == (
        Level.DANGEROUS,
        Source.ARGUMENTS,
        True,
    )


def test_a_pinned_name_that_is_handed_on_is_refused() -> None:
    """getattr, once called as a pickler would, must not reach another function as an argument."""
    well_used = entry("builtins:getattr", "called", ("global mine:Outer", "str 'Inner'"))
    handed_on = entry("mine:call", "called", ("global builtins:getattr",))
    assert not verdict(well_used).is_refused
    assert verdict(well_used, handed_on).is_refused
    with pytest.raises(errors.PolicyError, match="builtins:getattr"):
        POLICY.check([well_used, handed_on])


# ── trusted functions that make whatever they are given ──────────────────────

DISTRIBUTION = "scipy.stats._continuous_distns:norm_gen"

MAKERS = [
    ("sklearn.neighbors._kd_tree:newObj", (DISTRIBUTION,)),
    ("sklearn.neighbors._ball_tree:newObj", (DISTRIBUTION,)),
    ("sklearn.metrics._dist_metrics:newObj", (DISTRIBUTION,)),
    ("numpy.random._pickle:__bit_generator_ctor", (DISTRIBUTION,)),
    ("numpy.ma.core:_mareconstruct", (DISTRIBUTION, "numpy:ndarray")),
    ("pandas.core.indexes.base:_new_Index", (DISTRIBUTION,)),
    ("pandas._libs.arrays:__pyx_unpickle_NDArrayBacked", (DISTRIBUTION,)),
    ("numpy._core.multiarray:_reconstruct", (DISTRIBUTION,)),
    ("numpy.core.multiarray:_reconstruct", (DISTRIBUTION,)),
]
REST = {
    "numpy.ma.core:_mareconstruct": ("tuple", "str 'b'"),
    "pandas.core.indexes.base:_new_Index": ("dict",),
    "pandas._libs.arrays:__pyx_unpickle_NDArrayBacked": ("int 82904607", "none"),
    "numpy._core.multiarray:_reconstruct": ("tuple", "bytes"),
    "numpy.core.multiarray:_reconstruct": ("tuple", "bytes"),
}


@pytest.mark.parametrize(("name", "classes"), MAKERS)
def test_a_function_that_makes_its_argument_is_trusted_with_the_known_classes_alone(
    name: str, classes: tuple[str, ...]
) -> None:
    """A class that is trusted in itself must not be made by a function that knows others."""
    arguments = (*(f"global {known}" for known in classes), *REST.get(name, ()))
    judged = verdict(entry(name, "called", arguments))
    assert (judged.level, judged.source) == (Level.DANGEROUS, Source.ARGUMENTS)
    assert not verdict(entry(DISTRIBUTION, "made", ())).is_refused


def test_a_users_own_class_may_stand_where_a_known_one_stood() -> None:
    """A subclass of pandas' index is as unknown as any class of its package, and no more."""
    made = ("global mine:Index", "dict")
    assert not verdict(entry("pandas.core.indexes.base:_new_Index", "called", made)).is_refused
    strange = ("global mine:os.Index", "dict")
    assert verdict(entry("pandas.core.indexes.base:_new_Index", "called", strange)).is_refused


def test_random_generators_call_nothing_but_their_own_constructor() -> None:
    """Numpy's __generator_ctor calls its second argument with its first."""
    name = "numpy.random._pickle:__generator_ctor"
    good = ("str 'PCG64'", "global numpy.random._pickle:__bit_generator_ctor")
    assert not verdict(entry(name, "called", good)).is_refused
    for called in ("os:system", "mine:run.deeper", ESTIMATOR):
        bad = ("str 'touch fired'", f"global {called}")
        assert verdict(entry(name, "called", bad)).is_refused


# ── code in a state ──────────────────────────────────────────────────────────

TEMPLATE = """
def _parse_args(self,  loc=0, scale=1):
    return (), loc, scale

def _parse_args_rvs(self,  loc=0, scale=1, size=None):
    return self._argcheck_rvs( loc, scale, size=size)

def _parse_args_stats(self,  loc=0, scale=1, moments='mv'):
    return (), loc, scale, moments
"""
KEY = "_parse_arg_template"


def distribution(*parts: bytes) -> bytes:
    """A stream that makes scipy's normal distribution and goes on with ``parts``."""
    return b"".join((made_of(DISTRIBUTION), *parts, b"."))


def made_of(name: str) -> bytes:
    """The opcodes that make an instance of a class."""
    module, _, qualname = name.partition(":")
    return b"\x80\x04" + pushed(module) + pushed(qualname) + b"\x93)\x81"


def pushed(value: object) -> bytes:
    """The opcodes that put ``value`` on the stack."""
    return pickle.dumps(value, 3)[2:-1]


def firing(marker: Path) -> str:
    """A template that leaves a file behind, and is otherwise scipy's own."""
    return f"open({str(marker)!r}, 'w').close()\n{TEMPLATE}"


STATES: dict[str, Callable[[str], bytes]] = {
    "a dict": lambda code: pushed({KEY: code}) + b"b",
    "a list of pairs": lambda code: pushed([[KEY, code]]) + b"b",
    "a tuple of pairs": lambda code: pushed(((KEY, code),)) + b"b",
    "a tuple of a dict with two keys": lambda code: pushed(({KEY: 1, code: 2},)) + b"b",
    "bytes for a text": lambda code: pushed({KEY: code.encode()}) + b"b",
    "a dict that is mended afterwards": lambda code: (
        pushed({KEY: code}) + b"q\xc8b" + b"h\xc8" + pushed(KEY) + pushed(TEMPLATE) + b"s0"
    ),
    "a good state, then another": lambda code: (
        pushed({KEY: TEMPLATE, "numargs": 0, "moment_type": 0}) + b"b" + pushed({KEY: code}) + b"b"
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_code_in_a_distributions_state_fires_and_is_refused(state: str, tmp_path: Path) -> None:
    """Scipy executes what the state brings along; only scipy's own text is trusted there."""
    marker = tmp_path / "fired"
    payload = distribution(STATES[state](firing(marker)))
    try:
        pickle.loads(payload)
    except Exception:  # noqa: BLE001 # what comes of the object afterwards is not the point
        assert marker.exists()
    assert marker.exists()
    marker.unlink()
    [judged] = [found for found in verdicts_on(payload) if found.name == DISTRIBUTION]
    assert (judged.level, judged.source) == (Level.DANGEROUS, Source.ARGUMENTS)
    assert not marker.exists()


def test_scipys_own_distribution_is_trusted() -> None:
    """The text that scipy writes passes, strict mode included."""
    from scipy import stats

    payload = pickle.dumps(stats.norm(1, 2))
    imports = imports_to_sign(inspect_memory(memoryview(bytearray(payload))))
    Policy("strict").check(imports)


def test_code_in_the_state_of_a_users_own_distribution_is_refused() -> None:
    """A class that inherits scipy's __setstate__ executes its template too."""
    payload = made_of("mine:Mine") + pushed({KEY: firing(Path("fired"))}) + b"b."
    [judged] = verdicts_on(payload)
    assert (judged.name, judged.level) == ("mine:Mine", Level.DANGEROUS)
    [harmless] = verdicts_on(made_of("mine:Mine") + pushed({KEY: TEMPLATE}) + b"b.")
    assert harmless.level is Level.UNKNOWN


def test_code_in_the_state_of_a_trusted_class_is_refused() -> None:
    """Wherever a state with such code turns up, it is not what the class was trusted for."""
    name = "scipy.stats._kde:gaussian_kde"
    assert not verdict(entry(name, "built", ("dict",))).is_refused
    assert verdict(entry(name, "built", (WITH_ANOTHER_TEMPLATE,))).is_refused


# ── lists that bound the policy ──────────────────────────────────────────────


def test_nothing_on_the_allowlist_is_on_the_denylist() -> None:
    """A name is trusted or denied, never both."""
    for name in [*allowlist.pinned().names, *allowlist.allowlist().names]:
        assert is_name(name)
        known = allowlist.trusted(name)
        assert known is not None
        for use in known.uses:
            assert denylist().denial(name, use) is None, name


@pytest.mark.parametrize(
    "name", ["builtins:getattr", "builtins:type", "functools:partial", "copyreg:_reconstructor"]
)
def test_names_that_are_trusted_with_certain_arguments_alone_are_never_handed_out(
    name: str,
) -> None:
    """An object that keeps such a name could call it with anything, later."""
    assert verdict(entry(name)).is_refused
