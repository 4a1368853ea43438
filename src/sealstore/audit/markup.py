"""HTML and SVG that cannot be broken out of: whatever is no ``Markup`` is escaped.

Names, actors, hosts and contexts come from outside, and may say anything.
"""

from __future__ import annotations

import html

from sealstore.errors import printable


class Markup(str):
    """Text that is markup already; only this module makes it of anything but a literal."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Text as markup shows it; control, format and separator characters are made visible."""
    return text if type(text) is Markup else Markup(html.escape(printable(str(text))))


def joined(*children: object) -> Markup:
    """Several pieces, one behind the other."""
    return Markup("".join(escaped(child) for child in children))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: of the element: a literal.
        children: what is in it.
        attributes: by name, a literal in which ``_`` stands for ``-`` and is dropped at the end;
            None leaves an attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")
