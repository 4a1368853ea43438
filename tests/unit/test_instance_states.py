"""The states of instances: what would turn one against the loader is refused in that moment."""

from __future__ import annotations

import pytest
from scipy import stats

from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.instance_states import (
    WITH_ANOTHER_TEMPLATE,
    WITH_SCIPYS_TEMPLATE,
    InstanceStates,
)
from sealstore.formats.pickling.standins import put_back, take_name
from sealstore.formats.pickling.uses import ArgumentBudget

KEY = "_parse_arg_template"
TEMPLATE = stats.beta._parse_arg_template


def kept(state: object) -> object:
    """What is kept of a state that an instance is given."""
    states = InstanceStates()
    states.append(state)
    [found] = states
    return found


def shown(state: object) -> object:
    """What an inspection says of that state."""
    return getattr(kept(state), "_sealstore_shown_as", None)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"coef_": 1, "append_": len},
        {1: 2, b"a": 3, ("x", 1): 4, None: 5},
        (),
        (None, {"slot": 1}),
        ({"a": 1}, {"slot": 1}),
        ({"__class__": int}, {}, {}),
        [(KEY, "x"), ("__class__", int)],
        "__class__",
        None,
    ],
)
def test_other_states_are_kept_as_they_are(state: object) -> None:
    """Attributes, slots and whatever a class of its own understands."""
    assert kept(state) is state


@pytest.mark.parametrize("attribute", ["__class__", "__dict__", "__setstate__"])
@pytest.mark.parametrize("value", [None, {}, len])
def test_attributes_that_decide_what_an_instance_is_are_refused(
    attribute: str, value: object
) -> None:
    """The next opcode would act on another class, or call what was planted."""
    for state in ({attribute: value}, ({attribute: value}, None), (None, {"a": 1, attribute: 1})):
        with pytest.raises(PayloadFormatError, match="decide what the unpickler does"):
            kept(state)


@pytest.mark.parametrize("attribute", ["add", "append", "extend"])
def test_attributes_that_an_opcode_calls_are_data_or_refused(attribute: str) -> None:
    """``APPENDS`` and ``ADDITEMS`` look these up on the instance; a number is not to be called."""
    plain: tuple[object, ...] = (None, True, 1, 0.5, "x", b"x", [], (), {}, set(), bytearray())
    for data in plain:
        state = {attribute: data}
        assert kept(state) is state
    for planted in (len, int, object()):
        for refused in ({attribute: planted}, (None, {attribute: planted})):
            with pytest.raises(PayloadFormatError, match="decide what the unpickler does"):
                kept(refused)


def test_keys_that_the_payload_makes_are_refused() -> None:
    """A stand-in, or a text of another class, may be equal to any attribute's name in the end."""
    met = take_name("mine", "Text", ArgumentBudget())

    class Text(str):
        """A text that could compare as it likes."""

    for key in (met.stand_in, met.result, Text("b"), 1j):
        with pytest.raises(PayloadFormatError, match="computes the name of an attribute"):
            kept({"a": 1, key: 2})
    put_back(met)


def test_a_state_is_judged_when_it_is_given() -> None:
    """A dict that is changed afterwards does not take back what was said of it."""
    state = {KEY: "import os"}
    states = InstanceStates()
    states.append(state)
    state[KEY] = TEMPLATE
    assert [getattr(each, "_sealstore_shown_as", None) for each in states] == [
        WITH_ANOTHER_TEMPLATE
    ]


def test_what_is_said_of_a_state_with_a_template() -> None:
    """Scipy's own is named; any other is named too, in the attributes and in the slots."""
    assert shown({KEY: TEMPLATE}) == WITH_SCIPYS_TEMPLATE
    others: tuple[object, ...] = ({KEY: 1}, ({KEY: 1}, None), (None, {KEY: "x"}), ({KEY: "x"}, {}))
    for state in others:
        assert shown(state) == WITH_ANOTHER_TEMPLATE
    pair = ({KEY: TEMPLATE}, None)
    assert kept(pair) is pair
