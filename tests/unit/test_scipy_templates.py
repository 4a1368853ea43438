"""The code in the state of scipy's distributions: scipy's own is recognised, and nothing else."""

from __future__ import annotations

from scipy import stats

from sealstore.formats.pickling.instance_states import is_scipys_template
from tests.matrix import each_row

DISTRIBUTIONS = {
    name: distribution
    for name, distribution in sorted(vars(stats).items())
    if isinstance(distribution, stats.rv_continuous | stats.rv_discrete)
}
TEMPLATE = stats.beta._parse_arg_template


@each_row("name", DISTRIBUTIONS)
def test_the_template_of_each_distribution_is_scipys(name: str) -> None:
    """Whatever shapes a distribution has, its text is what scipy makes of them."""
    assert is_scipys_template(DISTRIBUTIONS[name]._parse_arg_template)


def test_the_template_of_ones_own_distribution_is_scipys() -> None:
    """Shapes may have any names that are identifiers."""

    class Mine(stats.rv_continuous):
        def _pdf(self, x: float, first_shape: float, b2: float) -> float:
            return x * first_shape * b2

    assert is_scipys_template(Mine(name="mine")._parse_arg_template)
    assert is_scipys_template(stats.rv_discrete(values=([1, 2], [0.5, 0.5]))._parse_arg_template)


class Text(str):
    """A text of a class that could compare as it likes."""


@each_row(
    "template",
    [
        "",
        None,
        b"",
        TEMPLATE.encode(),
        Text(TEMPLATE),
        TEMPLATE + "\nimport os",
        "import os\n" + TEMPLATE,
        TEMPLATE.replace("return", "import os; return"),
        TEMPLATE.replace("(a, b, )", "(a, b, print())"),
        TEMPLATE.replace("loc=0", "loc=print()"),
        TEMPLATE.replace("moments='mv'", "moments=print()"),
        TEMPLATE.replace("size=None", "size=print()"),
        TEMPLATE.replace("scale=1", "scale=2"),
        TEMPLATE.replace("loc, scale", "loc, 1"),
        TEMPLATE.replace("a, b, ", "a, b=print(), "),
        TEMPLATE.replace("a, b, ", "*a, "),
        TEMPLATE.replace("a, b, ", "a,b, "),
        TEMPLATE.replace("a, b, ", "ä, "),
        TEMPLATE.replace("a, b, ", "lambda, "),
        TEMPLATE.replace("a, b, ", "c, ", 1),
        TEMPLATE[:-1],
        TEMPLATE.replace("\n", "\r\n"),
    ],
)
def test_any_other_template_is_not_scipys(template: object) -> None:
    """Not a character may differ, wherever it stands."""
    assert not is_scipys_template(template)
