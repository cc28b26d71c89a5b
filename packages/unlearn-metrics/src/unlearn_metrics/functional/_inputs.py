"""Checks of arguments, and answers of unequal length as one flat array with lengths."""

from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsFloat, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]


def numbers(values: ArrayLike, name: str, *, low: float = -np.inf, high: float = np.inf) -> Floats:
    """`values` as float64, all of them finite and from `low` to `high`."""
    array = _as_float64(values, name)
    bad = ~((array >= low) & (array <= high) & np.isfinite(array))
    if bad.any():
        raise ValueError(f"`{name}` must be {_range(low, high)}, got {array[bad].flat[0]}{_position(bad)}.")
    return array


def ratios(values: ArrayLike, name: str) -> Floats:
    """`values` as float64, one axis, none negative or NaN; infinity is a ratio too."""
    array = np.atleast_1d(_as_float64(values, name))
    bad = ~(array >= 0)
    if bad.any():
        raise ValueError(f"`{name}` must be at least 0, got {array[bad].flat[0]}{_position(bad)}.")
    return array


def share(value: SupportsFloat, name: str) -> float:
    """`value` as a float in (0, 1]."""
    number = float(value)
    if not 0 < number <= 1:
        raise ValueError(f"`{name}` must be above 0 and at most 1, got {value}.")
    return number


class Ragged(NamedTuple):
    """Answers of unequal length: their values one after the other, and how many belong to each."""

    flat: NDArray[Any]
    lengths: NDArray[np.int64]
    single: bool

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each answer begins in `flat`."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def rows(self) -> NDArray[np.int64]:
        """The answer that each value of `flat` belongs to."""
        return np.repeat(np.arange(self.lengths.size), self.lengths)

    def means(self) -> Floats:
        """The mean of each answer."""
        return np.add.reduceat(self.flat.astype(np.float64), self.starts) / self.lengths

    def shaped(self, per_answer: Floats) -> Any:
        """`per_answer` as the caller passed its answers: an array for many, a number for one."""
        return per_answer[0] if self.single else per_answer


def ragged(values: Any, name: str) -> Ragged:
    """One answer (a sequence of numbers) or several (a sequence of such sequences); none may be empty."""
    if len(values) == 0:
        raise ValueError(f"`{name}` is empty. Give at least one answer of at least one token.")
    single = np.ndim(values[0]) == 0
    answers: Sequence[Any] = [np.asarray(answer) for answer in ([values] if single else values)]
    lengths = np.array([answer.size for answer in answers])
    if (lengths == 0).any():
        raise ValueError(f"`{name}` has an empty answer at position {lengths.argmin()}. An answer has its end token.")
    return Ragged(np.concatenate(answers), lengths, single)


def ragged_numbers(values: Any, name: str, *, low: float = -np.inf, high: float = np.inf) -> Ragged:
    """As `ragged`, with finite values from `low` to `high`."""
    answers = ragged(values, name)
    return answers._replace(flat=numbers(answers.flat, name, low=low, high=high))


def ragged_booleans(values: Any, name: str) -> Ragged:
    """As `ragged`, with booleans (or 0 and 1)."""
    answers = ragged(values, name)
    if not np.isin(answers.flat, (0, 1)).all():
        raise ValueError(f"`{name}` must hold True and False alone, got {answers.flat.dtype} values.")
    return answers._replace(flat=answers.flat.astype(bool))


def same_lengths(first: Ragged, second: Ragged, names: str) -> None:
    """Raise unless the answers have the same lengths."""
    if not np.array_equal(first.lengths, second.lengths):
        raise ValueError(f"{names} must have the same number of tokens in each answer.")


def _as_float64(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values)
    if array.size == 0:
        raise ValueError(f"`{name}` is empty, so there is nothing to measure. Give at least one value.")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must be numbers in a regular array, got {array.dtype}.")
    return array.astype(np.float64)


def _range(low: float, high: float) -> str:
    bounds = [("at least", low), ("at most", high)]
    return " and ".join(["finite", *(f"{word} {bound:g}" for word, bound in bounds if np.isfinite(bound))])


def _position(bad: NDArray[np.bool_]) -> str:
    at = np.argwhere(bad)[0]
    return f" at position {', '.join(map(str, at))}" if at.size else ""
