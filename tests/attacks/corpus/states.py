"""States that lie: dtypes that numpy believes, and classes that run what their state says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.attacks.corpus.arrays import dtype, wrapper
from tests.attacks.corpus.case import PYTHON, Collection, Effect, When
from tests.attacks.corpus.opcodes import BUILD, POP, Code, build, call, name, new, stream, value

_POINTER: Final = b"\x41" * 8

dtypes = Collection("lying-dtypes")


def _crash(
    short: str,
    how: str,
    payload: bytes,
    use: Callable[[Any], object] | None = None,
    **known: Any,
) -> None:
    when = When.LOAD if use is None else When.USE
    dtypes.add(short, how, payload, use=use, when=when, effect=Effect.CRASHES, **known)


def _void(size: int, **changes: Any) -> Code:
    """A dtype of ``size`` bytes, with another state than numpy would give it."""
    state = {"subarray": None, "names": None, "fields": None, "size": size, "flags": 0} | changes
    return build(
        call("numpy:dtype", f"V{size}", False, True),
        (
            3,
            "|",
            state["subarray"],
            state["names"],
            state["fields"],
            state["size"],
            1,
            state["flags"],
        ),
    )


_NO_OBJECT: Final = dtype("O8", "|", flags=0)
_FAR_FIELD: Final = _void(8, names=("x",), fields={"x": (dtype(), 1 << 30)})
_crash(
    "object-without-its-flag",
    "array bytes become pointers",
    stream(wrapper(dtype=_NO_OBJECT, shape=(1,)), _POINTER),
    use=repr,
)
_crash(
    "object-field-without-its-flag",
    "array bytes become pointers in a field",
    stream(
        wrapper(
            dtype=_void(8, names=("x",), fields={"x": (dtype("O8", "|", flags=63), 0)}), shape=(1,)
        ),
        _POINTER,
    ),
    use=lambda array: array["x"].tolist(),
)
_crash(
    "field-outside",
    "a field lies a gigabyte behind its element",
    stream(wrapper(dtype=_FAR_FIELD, shape=(1,)), bytes(8)),
    use=lambda array: array["x"].sum(),
)
_crash(
    "field-before",
    "a field lies a gigabyte before its element",
    stream(
        wrapper(dtype=_void(8, names=("x",), fields={"x": (dtype(), -(1 << 30))}), shape=(1,)),
        bytes(8),
    ),
    use=lambda array: array["x"].sum(),
)
_crash(
    "subarray-larger-than-its-element",
    "each element claims to hold 2**30 numbers",
    stream(
        wrapper(
            dtype=_void(
                8, names=("x",), fields={"x": (_void(8, subarray=(dtype(), (1 << 30,))), 0)}
            ),
            shape=(1,),
        ),
        bytes(8),
    ),
    use=lambda array: array["x"].sum(),
)
_crash(
    "scalar-of-objects",
    "a scalar's bytes become a pointer",
    stream(call("numpy._core.multiarray:scalar", _NO_OBJECT, _POINTER)),
    use=repr,
)
_crash(
    "array-state",
    "an array's own state brings the dtype and the bytes",
    stream(
        build(
            call("numpy._core.multiarray:_reconstruct", name("numpy:ndarray"), (0,), b"b"),
            (1, (1,), _NO_OBJECT, False, _POINTER),
        )
    ),
    use=repr,
)
_crash(
    "field-outside-in-an-array-state",
    "the same for a field that lies outside",
    stream(
        build(
            call("numpy._core.multiarray:_reconstruct", name("numpy:ndarray"), (0,), b"b"),
            (1, (1,), _FAR_FIELD, False, bytes(8)),
        )
    ),
    use=lambda array: array["x"].sum(),
)
_crash(
    "dtype-changed-under-an-array",
    "a dtype is given another state while an array has it",
    stream(
        _void(8) + b"q\x01" + POP,
        wrapper(dtype=Code(b"h\x01"), shape=(1,)),
        bytes(8),
        Code(b"h\x01") + value((3, "|", None, None, None, 1 << 28, 1, 0)) + BUILD + POP,
    ),
    use=lambda array: array.tobytes(),
)
templates = Collection("scipy-templates")
_TEMPLATE: Final = f"""\
def _parse_args(self, loc=0, scale=1):
    return (), loc, scale
def _parse_args_rvs(self, loc=0, scale=1, size=None):
    return self._argcheck_rvs(loc, scale, size=size)
def _parse_args_stats(self, loc=0, scale=1, moments='mv'):
    return (), loc, scale, moments
{PYTHON}
"""
for _target in (
    "scipy.stats._continuous_distns:norm_gen",
    "scipy.stats._continuous_distns:gamma_gen",
    "scipy.stats._discrete_distns:poisson_gen",
    "scipy.stats._distn_infrastructure:rv_continuous",
):
    templates.add(
        _target.partition(":")[2],
        "a distribution runs the source in its state to make its methods",
        stream(
            build(
                new(_target),
                {
                    "_parse_arg_template": _TEMPLATE,
                    "_ctor_param": {},
                    "numargs": 0,
                    "moment_type": 1,
                },
            )
        ),
    )


def _distribution() -> bytes:
    """A real one, as joblib writes it, with one line more in its template."""
    import io

    import joblib
    from scipy import stats

    model = stats.norm.__class__(name="norm", seed=1)
    model._parse_arg_template += f"{PYTHON}\n"
    buffer = io.BytesIO()
    joblib.dump({"scaler": 1, "noise": model}, buffer)
    return buffer.getvalue()


templates.add(
    "real-distribution", "one line more in the state of a real distribution", _distribution
)
