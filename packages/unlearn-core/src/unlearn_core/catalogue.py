"""Methods of every kind by name, with their options and what is written about them."""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, TypeAlias

from unlearn_core.edit import Edit
from unlearn_core.edits import EDITS
from unlearn_core.guard import Guard
from unlearn_core.guards import GUARDS
from unlearn_core.method import Method
from unlearn_core.methods import METHODS
from unlearn_core.transform import Transform
from unlearn_core.transforms import TRANSFORMS

AnyMethod: TypeAlias = Method | Transform | Edit | Guard

CATALOGUE: dict[str, type[AnyMethod]] = {**METHODS, **TRANSFORMS, **EDITS, **GUARDS}


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


def build_method(name: str, /, **options: Any) -> Any:
    """Returns the method of that name with these options: a `Method`, `Transform`, `Edit` or `Guard`.

    Args:
        name: A key of `CATALOGUE`.
        **options: Its options; those left out keep their defaults. An option that is itself a method may be given as
            its name, or as a mapping of `method` to its name and of options to their values.

    Raises:
        TypeError: If the name or an option has the wrong type.
        ValueError: If there is no such method or option, or if an option is out of range.

    Example:
        >>> build_method("npo", beta=0.5)
        NPO(beta=0.5, forget_weight=1.0, retain_weight=1.0)
        >>> build_method("gru")
        GRU(average=0.8)
        >>> build_method("lat", inner={"method": "ga", "forget_weight": 2.0}).inner
        GA(forget_weight=2.0)
        >>> build_method("graddif")
        Traceback (most recent call last):
        ValueError: there is no method 'graddif': did you mean 'graddiff'? `unlearn_core.CATALOGUE` lists them.
    """
    if not isinstance(name, str):
        raise TypeError(f"`name` must be the name of a method, got {name!r}: `unlearn_core.CATALOGUE` lists them.")
    if name not in CATALOGUE:
        raise ValueError(
            f"there is no method {name!r}:{_nearest(name, CATALOGUE)} `unlearn_core.CATALOGUE` lists them."
        )
    method = CATALOGUE[name]
    described = describe(method)
    defaults = {option.name: option.default for option in described}
    for unknown in sorted(options.keys() - defaults):
        listed = ", ".join(f"{option}={default}" for option, default in defaults.items())
        raise ValueError(f"method {name!r} has no option {unknown!r}:{_nearest(unknown, defaults)} It takes: {listed}.")
    inner = {option.name for option in described if option.type == "Method"} & options.keys()
    return method(**options | {name: _inner(options[name]) for name in inner})


def describe(method: type[AnyMethod]) -> tuple[Option, ...]:
    """Returns a method's options, with the words of its docstring.

    Args:
        method: A value of `CATALOGUE`, or any other frozen dataclass that is a `Method`, `Transform`, `Edit` or
            `Guard`.

    Example:
        >>> for option in describe(METHODS["ga"]):
        ...     print(*option, sep=" | ")
        forget_weight | float | 1.0 | γ, the weight of the forget term. Default 1, as in the paper.
    """
    docs = _attribute_docs(method)
    return tuple(
        Option(field.name, getattr(field.type, "__name__", str(field.type)), field.default, docs.get(field.name, ""))
        for field in fields(method)  # type: ignore[arg-type]  # every one is a dataclass, which ABC cannot say
    )


def explain(method: type[AnyMethod]) -> str:
    """Returns what a method's docstring says beside its options: the formula, and which way each term pushes.

    Args:
        method: As for `describe`.

    Example:
        >>> print(explain(METHODS["ga"]))  # doctest: +ELLIPSIS
        Gradient ascent...
    """
    return (inspect.getdoc(method) or "").partition("Attributes:\n")[0].strip()


def _inner(given: Any) -> Any:
    """A method that is an option of another, from its name or its name and options."""
    if isinstance(given, Mapping):
        options = dict(given)
        if "method" not in options:
            raise ValueError(f"an option that is a method takes a name, or options with a `method`, got {options}.")
        return build_method(str(options.pop("method")), **options)
    return build_method(given) if isinstance(given, str) else given


def _attribute_docs(method: type[AnyMethod]) -> dict[str, str]:
    """What the `Attributes:` section of a Google docstring says about each name."""
    section = (inspect.getdoc(method) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.+(?:\n {5,}.+)*)", section, flags=re.MULTILINE)
    return {name: " ".join(doc.split()) for name, doc in entries}


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" did you mean {near[0]!r}?" if near else ""
