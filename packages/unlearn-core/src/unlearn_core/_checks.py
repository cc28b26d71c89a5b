"""Checks of options, shared by losses and methods."""

import math
from collections.abc import Iterable


def number(name: str, value: int | float) -> None:
    """Refuses what is not a finite real number.

    Raises:
        TypeError: If `value` is not an int or a float.
        ValueError: If `value` is infinite or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` must be a number, got {value!r} of type {type(value).__name__}.")
    if not math.isfinite(value):
        raise ValueError(f"`{name}` must be finite, got {value}.")


def positive(name: str, value: int | float) -> None:
    """Refuses what is not a finite number above zero."""
    number(name, value)
    if value <= 0:
        raise ValueError(f"`{name}` must be positive, got {value}.")


def non_negative(name: str, value: int | float) -> None:
    """Refuses what is not a finite number of at least zero."""
    number(name, value)
    if value < 0:
        raise ValueError(f"`{name}` must be at least 0, got {value}.")


def fraction(name: str, value: int | float) -> None:
    """Refuses what is not a number from 0 to 1."""
    number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be from 0 to 1, got {value}.")


def share(name: str, value: int | float) -> None:
    """Refuses what is not in (0, 1]."""
    number(name, value)
    if not 0 < value <= 1:
        raise ValueError(f"`{name}` must be above 0 and at most 1, got {value}.")


def whole(name: str, value: int, *, least: int | None = None) -> None:
    """Refuses what is not an int, or not one of at least `least`.

    Raises:
        TypeError: If `value` is not an int.
        ValueError: If it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be a whole number, got {value!r} of type {type(value).__name__}.")
    if least is not None and value < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}.")


def choice(name: str, value: str, known: Iterable[str]) -> None:
    """Refuses what is not one of `known`."""
    known = list(known)
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r}.")
