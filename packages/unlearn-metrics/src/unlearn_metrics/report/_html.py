"""HTML that escapes by construction: text is escaped unless it was made here."""

from collections.abc import Iterable
from html import escape


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | bool | None) -> Html:
    """Returns an element; children are escaped unless they are `Html`, attributes always.

    Args:
        tag: Name of the element.
        *children: Text or elements.
        **attributes: Attributes; a trailing `_` is dropped (`class_`), other `_` become `-`. `None` and `False` leave
            an attribute out, `True` gives one without a value.

    Example:
        >>> element("p", "a < b", element("b", "!"), class_="note", title=None)
        '<p class="note">a &lt; b<b>!</b></p>'
    """
    opening = "".join(_attribute(name, value) for name, value in attributes.items() if value not in (None, False))
    return Html(f"<{tag}{opening}>{join(children)}</{tag}>")


def join(children: Iterable[str]) -> Html:
    """Returns the children one after another, escaped unless they are `Html`."""
    return Html("".join(child if isinstance(child, Html) else escape(child, quote=False) for child in children))


def _attribute(name: str, value: str | bool | None) -> str:
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
