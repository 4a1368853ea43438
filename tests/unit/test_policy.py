"""The policy's judgement: three ways, two modes, and what a site may change about it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from sealstore import errors, limits
from sealstore.formats.pickling.denylist import denylist, is_covered
from sealstore.formats.pickling.policy import Mode, Policy, may_lead_elsewhere
from sealstore.formats.pickling.verdicts import Entry, Level, Source, Verdict
from sealstore.signed.statement import Import, ImportUse
from tests.matrix import each_row

ESTIMATOR = "sklearn.linear_model._logistic:LogisticRegression"
MINE = "mine.models:Churn"
NOT_LISTED = "sklearn.linear_model._logistic:something_new"


def used(name: str, *uses: str, **arguments: tuple[str, ...]) -> Import:
    """An import with uses: without arguments on record, or with some."""
    found = [ImportUse(use, None) for use in uses]  # type: ignore[arg-type] # a use, as in a statement
    found += [ImportUse(use.replace("_", "-"), given) for use, given in arguments.items()]  # type: ignore[arg-type] # the same
    return Import(name, tuple(found))


def verdict(entry: Import, policy: Policy | None = None) -> Verdict:
    """What a policy, the standard one by default, thinks of one import."""
    [found] = (policy or Policy()).judge([entry])
    return found


def allows(policy: Policy, entry: Import) -> bool:
    """Whether ``check`` lets an import pass; ``judge`` must say the same."""
    [judged] = policy.judge([entry])
    try:
        policy.check([entry])
    except errors.PolicyError:
        assert judged.is_refused
        return False
    assert not judged.is_refused
    return True


# ── three ways ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", [Policy(), Policy(Mode.STRICT)])
def test_what_a_fitted_estimator_needs_is_trusted(policy: Policy) -> None:
    """Names on the allowlist pass both modes, for the uses that they are listed with."""
    entries = [
        used(ESTIMATOR, made=(), built=("dict",)),
        used("numpy:ndarray"),
        used("numpy:mean"),
        used("builtins:set", called=("list",)),
    ]
    policy.check(entries)
    assert {judged.level for judged in policy.judge(entries)} == {Level.TRUSTED}


def test_a_trusted_name_is_trusted_for_its_uses_alone() -> None:
    """A function that objects refer to is not one that a payload may call while it is loaded."""
    assert allows(Policy(), used("numpy:mean"))
    judged = verdict(used("numpy:mean", called=("array",)))
    assert (judged.level, judged.source, judged.use) == (
        Level.DANGEROUS,
        Source.COVERED,
        "called",
    )
    assert judged.reason.endswith("to be called")


@pytest.mark.parametrize(
    "name",
    [
        NOT_LISTED,
        "numpy:something_new",
        "pandas.core.frame:DataFrame.something_new",
        "scipy.optimize._optimize:brute",
        "joblib.something:New",
        "threadpoolctl:threadpool_limits",
        "_loss:os",
        "string:Template",
        "statistics:mean",
    ],
)
def test_what_is_not_listed_of_a_covered_package_is_dangerous(name: str) -> None:
    """Of the standard library and of covered packages, only what is listed is trusted."""
    judged = verdict(used(name))
    assert (judged.level, judged.source) == (Level.DANGEROUS, Source.COVERED)
    assert "allowlist" in judged.reason


@pytest.mark.parametrize("module", ["telnetlib", "imp", "_pyrepl"])
def test_modules_of_other_pythons_are_covered(module: str) -> None:
    """What another version of Python has in its standard library is judged as if it were here."""
    assert is_covered(f"{module}:Anything") or denylist().denial(f"{module}:Anything", "called")


def test_a_users_own_class_is_unknown() -> None:
    """Standard mode lets it pass, strict mode does not."""
    entry = used(MINE, made=(), built=("dict",))
    judged = verdict(entry)
    assert (judged.level, judged.source) == (Level.UNKNOWN, Source.NOTHING)
    assert allows(Policy("standard"), entry)
    assert not allows(Policy("strict"), entry)


def test_the_worst_use_decides() -> None:
    """An import that is trusted in one use and dangerous in another is dangerous."""
    judged = verdict(used("functools:partial", called=("global numpy:mean",), extended=()))
    assert (judged.level, judged.use) == (Level.DANGEROUS, "extended")


# ── how names are spelled ────────────────────────────────────────────────────


@each_row(
    "name",
    [
        "mine",
        "mine:",
        ":Churn",
        "mine:Churn:More",
        "mine models:Churn",
        "mine/models:Churn",
        "../mine:Churn",
        "mine.:Churn",
        "mine:.Churn",
        "mine:1",
        "mine:f.<locals>.g",
        "mine:<lambda>",
        "mine:Chu\u200brn",
        "mine:Churn\n",
        f"mine:{'x' * limits.MAX_POLICY_NAME_CHARACTERS}",
    ],
)
def test_a_name_that_no_pickler_writes_is_dangerous(name: str) -> None:
    """Names are identifiers and dots; everything else is refused in any mode."""
    judged = verdict(used(name))
    assert (judged.level, judged.source) == (Level.DANGEROUS, Source.FORM)


@pytest.mark.parametrize(
    "name",
    [
        "mine:os.system",
        "mine:np.load",
        "mine:_private.loads",
        "mine:Churn.__init__.__globals__",
        "mine:Churn.__class__",
        "mine:Churn.__subclasses__",
        "mine:__builtins__",
        "mine:__loader__",
        "mine:Churn.helper.Inner",
        "mine:_.x",
    ],
)
def test_a_name_that_may_lead_elsewhere_is_dangerous(name: str) -> None:
    """A dotted name may pass through a module or through an object's insides."""
    assert may_lead_elsewhere(name)
    judged = verdict(used(name))
    assert (judged.level, judged.source) == (Level.DANGEROUS, Source.FORM)


@pytest.mark.parametrize(
    "name",
    ["mine:Outer.Inner", "mine:_Outer._Inner.Innermost", "mine:Churn.predict", "mine:_make"],
)
def test_a_class_within_a_class_is_as_unknown_as_the_outer_one(name: str) -> None:
    """Classes are told by their capital letters."""
    assert not may_lead_elsewhere(name)
    assert verdict(used(name)).level is Level.UNKNOWN


def test_a_cython_class_unpickles_by_a_function_with_underscores() -> None:
    """Two underscores in front alone are nothing special."""
    assert verdict(used("mine.fast:__pyx_unpickle_Tree")).level is Level.UNKNOWN


# ── a site's own entries ─────────────────────────────────────────────────────


def test_allow_lifts_what_is_unknown_in_strict_mode() -> None:
    """An exact name is enough."""
    strict = Policy("strict", allow=[Entry(MINE)])
    assert allows(strict, used(MINE, made=()))
    assert not allows(strict, used("mine.models:Other", made=()))


def test_allow_is_exact() -> None:
    """No entry reaches beneath or beyond the name that it spells."""
    policy = Policy("strict", allow=[Entry(MINE)])
    for name in (
        "mine.models:Churn.Inner",
        "mine.models:Churn2",
        "mine:models",
        "mine.models:churn",
    ):
        assert not allows(policy, used(name))


def test_allow_with_a_use_lifts_that_use_alone() -> None:
    """Another use of the same name stays what it was."""
    policy = Policy("strict", allow=[Entry(MINE, "made")])
    assert allows(policy, used(MINE, made=()))
    assert not allows(policy, used(MINE, built=("dict",)))
    assert not allows(policy, used(MINE, made=(), built=("dict",)))


def test_allow_lifts_what_a_covered_package_does_not_list() -> None:
    """A site may trust more of a covered package than the allowlist does."""
    assert allows(Policy(allow=[Entry(NOT_LISTED)]), used(NOT_LISTED, called=("int 1",)))
    assert allows(Policy(allow=[Entry("mine:os.system")]), used("mine:os.system"))


def test_allow_lifts_the_denylist_only_where_it_names_the_use() -> None:
    """A name alone does not open what is known to be dangerous."""
    entry = used("subprocess:Popen", called=("list",))
    assert not allows(Policy(allow=[Entry("subprocess:Popen")]), entry)
    assert not allows(Policy(allow=[Entry("subprocess:Popen", "made")]), entry)
    assert allows(Policy(allow=[Entry("subprocess:Popen", "called")]), entry)


def test_allow_lifts_an_arguments_pin_only_where_it_names_the_use() -> None:
    """A name alone does not open getattr to every attribute."""
    entry = used("builtins:getattr", called=("result mine:make", "str 'system'"))
    assert not allows(Policy(allow=[Entry("builtins:getattr")]), entry)
    assert allows(Policy(allow=[Entry("builtins:getattr", "called")]), entry)


def test_deny_wins_over_everything() -> None:
    """What a site denies is refused, trusted or allowed as it may be."""
    entry = used(ESTIMATOR, made=(), built=("dict",))
    for deny in (Entry(ESTIMATOR), Entry(ESTIMATOR, "made")):
        policy = Policy(allow=[Entry(ESTIMATOR), Entry(ESTIMATOR, "made")], deny=[deny])
        assert not allows(policy, entry)
        assert verdict(entry, policy).source is Source.SITE


def test_deny_with_a_use_denies_that_use_alone() -> None:
    """Other uses of the name stay what they were."""
    policy = Policy(deny=[Entry(ESTIMATOR, "called")])
    assert allows(policy, used(ESTIMATOR, made=(), built=("dict",)))
    assert not allows(policy, used(ESTIMATOR, called=()))


def test_deny_reaches_names_that_are_arguments() -> None:
    """A name that is denied when it is referred to is denied among arguments too."""
    policy = Policy(deny=[Entry(MINE, "named")])
    entries = [used(MINE, made=()), used("mine:make", called=(f"global {MINE}",))]
    with pytest.raises(errors.PolicyError, match=r"mine\.models:Churn"):
        policy.check(entries)
    assert policy.judge(entries)[0].is_refused


@pytest.mark.parametrize(
    ("entry", "lifts", "is_idle"),
    [
        (Entry(MINE), None, False),
        (Entry(NOT_LISTED), "only what is on the allowlist", False),
        (Entry("subprocess:Popen"), "starts programs", True),
        (Entry("subprocess:Popen", "called"), "starts programs", False),
        (Entry("builtins:getattr"), "attributes", True),
        (Entry("builtins:getattr", "called"), "attributes", False),
        (Entry(ESTIMATOR, "made"), None, True),
        (Entry(ESTIMATOR), None, False),
        (Entry("mine:Denied"), None, True),
        (Entry("mine:Denied", "made"), None, True),
    ],
)
def test_what_an_allow_entry_does_is_told(entry: Entry, lifts: str | None, is_idle: bool) -> None:
    """A site sees which built-in objection an entry lifts, and which entries change nothing."""
    policy = Policy(allow=[entry], deny=[Entry("mine:Denied")])
    [told] = policy.allow_entries()
    assert (told.entry, told.is_idle) == (entry, is_idle)
    assert (told.lifts is None) if lifts is None else (lifts in (told.lifts or ""))


def test_strict_mode_learns_what_is_unknown_and_nothing_dangerous() -> None:
    """What a person has to decide one by one is not among the suggestions."""
    entries = [
        used(MINE, made=()),
        used("mine:Outer.Inner"),
        used("subprocess:Popen", called=("list",)),
        used(NOT_LISTED),
        used(ESTIMATOR, made=()),
    ]
    learned = Policy("strict").entries_to_learn(entries)
    assert learned == (Entry("mine.models:Churn"), Entry("mine:Outer.Inner"))
    taught = Policy("strict", allow=learned)
    assert [judged.name for judged in taught.judge(entries) if judged.is_refused] == [
        "subprocess:Popen",
        NOT_LISTED,
    ]
    assert taught.entries_to_learn(entries) == ()


# ── the refusal ──────────────────────────────────────────────────────────────


def test_a_refusal_names_each_import_with_its_reason() -> None:
    """The error says how many, which, in what use, why, and what to do."""
    entries = [
        used(ESTIMATOR, made=()),
        used("os:system", called=("str 'x'",)),
        used("pandas:read_pickle"),
    ]
    with pytest.raises(errors.PolicyError) as caught:
        Policy().check(entries)
    text = str(caught.value)
    assert "standard policy refuses 2 of 3 imports" in text
    assert "os:system (called): it reaches files, processes and the environment" in text
    assert "pandas:read_pickle: it reads files, and unpickles" in text
    assert ESTIMATOR not in text
    assert "sealstore policy check" in text
    assert "policy.toml" in text
    assert caught.value.code == "POLICY"


def test_a_refusal_names_each_refused_use_and_allowing_these_lifts_it() -> None:
    """One edit of policy.toml is enough: a name that is refused in two uses is named in both."""
    entries = [used("joblib.memory:Memory", made=(), built=("dict",)), used(ESTIMATOR, made=())]
    with pytest.raises(errors.PolicyError) as caught:
        Policy().check(entries)
    text = caught.value.message
    assert "refuses 1 of 2 imports" in text
    uses = re.findall(r"(joblib\.memory:Memory) \((\w+)\)", text)
    assert uses == [("joblib.memory:Memory", "made"), ("joblib.memory:Memory", "built")]
    Policy(allow=[Entry(name, use) for name, use in uses]).check(entries)


def test_a_refusal_of_many_imports_stays_readable() -> None:
    """The first ten are named, shortened; the rest is counted."""
    entries = [used(f"os:{'x' * 500}{number}") for number in range(12)]
    with pytest.raises(errors.PolicyError) as caught:
        Policy().check(entries)
    assert "; and 2 more." in caught.value.message
    assert len(caught.value.message) < 4_000
    assert "x" * 201 not in caught.value.message


def test_missing_arguments_are_mended_by_another_inspection() -> None:
    """Where nothing but unrecorded arguments speaks against a statement, the way out is named."""
    entry = used("builtins:getattr", "called")
    judged = verdict(entry)
    assert (judged.level, judged.lacks_arguments) == (Level.DANGEROUS, True)
    with pytest.raises(errors.PolicyError, match="sealstore inspect --resign"):
        Policy().check([entry])
    with pytest.raises(errors.PolicyError) as caught:
        Policy().check([entry, used("os:system")])
    assert "--resign" not in str(caught.value)


def test_no_imports_are_no_reason_to_refuse() -> None:
    """Plain data passes every policy."""
    Policy("strict").check([])
    assert Policy("strict").judge([]) == ()


def test_a_mode_that_does_not_exist_is_refused() -> None:
    """There is no third mode."""
    with pytest.raises(ValueError, match="off"):
        Policy("off")


def test_to_judge_imports_nothing() -> None:
    """Neither the policy nor its judgement imports what it judges, or any covered package."""
    program = (
        "import sys\n"
        "from sealstore.formats.pickling.policy import Policy\n"
        "from sealstore.signed.statement import Import\n"
        "names = ['numpy:load', 'colorsys:rgb_to_hsv', 'sklearn.svm._classes:SVC', 'this:s',\n"
        "         'mine:Outer.Inner', 'antigravity:os.system']\n"
        "before = set(sys.modules)\n"
        "Policy('strict').judge([Import(name, ()) for name in names])\n"
        "assert set(sys.modules) == before, set(sys.modules) - before\n"
        "assert not {'numpy', 'pandas', 'scipy', 'sklearn', 'joblib'} & before, before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("judging", [Policy.judge, Policy.entries_to_learn])
def test_policies_do_not_remember_each_others_verdicts(
    judging: Callable[[Policy, list[Import]], object],
) -> None:
    """What one policy has judged says nothing about another."""
    entry = used(MINE, made=())
    assert judging(Policy("strict"), [entry]) != judging(
        Policy("strict", allow=[Entry(MINE)]), [entry]
    )
