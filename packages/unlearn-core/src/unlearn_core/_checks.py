"""Checks of options, shared by losses and methods."""

import math


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
