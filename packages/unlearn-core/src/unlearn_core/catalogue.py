"""Methods by name, with their options."""

import difflib
import inspect
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, NamedTuple

from unlearn_core.method import Method
from unlearn_core.methods import METHODS


class Option(NamedTuple):
    """One option of a method.

    Attributes:
        name: As `build_method` takes it.
        type: As it is written in the source: `float`.
        default: What it is unless said otherwise.
        doc: What it means, and where its default comes from.
    """

    name: str
    type: str
    default: Any
    doc: str


def build_method(name: str, /, **options: Any) -> Method:
    """Returns the method of that name with these options.

    Args:
        name: A key of `METHODS`.
        **options: Its options; those left out keep their defaults.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If there is no such method or option, or if an option is out of range.

    Example:
        >>> build_method("npo", beta=0.5)
        NPO(beta=0.5, forget_weight=1.0, retain_weight=1.0)
        >>> build_method("nop")
        Traceback (most recent call last):
        ValueError: there is no method 'nop': did you mean 'npo'? There are: retain_finetune, ga, graddiff, kl, npo,
        simnpo, idk, dpo.
    """
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}:{_nearest(name, METHODS)} There are: {', '.join(METHODS)}.")
    method = METHODS[name]
    defaults = {option.name: option.default for option in describe(method)}
    for unknown in sorted(options.keys() - defaults):
        listed = ", ".join(f"{option}={default}" for option, default in defaults.items())
        raise ValueError(f"method {name!r} has no option {unknown!r}:{_nearest(unknown, defaults)} It takes: {listed}.")
    return method(**options)


def describe(method: type[Method]) -> tuple[Option, ...]:
    """Returns a method's options, with the words of its docstring.

    Args:
        method: A value of `METHODS`, or any other frozen dataclass that is a `Method`.

    Example:
        >>> for option in describe(METHODS["ga"]):
        ...     print(*option, sep=" | ")
        forget_weight | float | 1.0 | γ, the weight of the forget term. Default 1, as in the paper.
    """
    docs = _attribute_docs(method)
    return tuple(
        Option(field.name, getattr(field.type, "__name__", str(field.type)), field.default, docs.get(field.name, ""))
        for field in fields(method)  # type: ignore[arg-type]  # every Method is a dataclass, which ABC cannot say
    )


def _attribute_docs(method: type[Method]) -> dict[str, str]:
    """What the `Attributes:` section of a Google docstring says about each name."""
    section = (inspect.getdoc(method) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.+(?:\n {5,}.+)*)", section, flags=re.MULTILINE)
    return {name: " ".join(doc.split()) for name, doc in entries}


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" did you mean {near[0]!r}?" if near else ""
