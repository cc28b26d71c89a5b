"""Checks of arguments, and answers of unequal length as one flat array with lengths."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, SupportsFloat, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
# Answers are taken so many at a time, so that memory is that of the input and little more.
_BLOCK = 1 << 13


def numbers(values: ArrayLike, name: str, *, low: float = -np.inf, high: float = np.inf) -> Floats:
    """`values` as float64, all of them finite and from `low` to `high`; may be the caller's own array, so only read."""
    array = _as_float64(values, name)
    if not _all_within(array, low, high):
        bad = ~((array >= low) & (array <= high) & np.isfinite(array))
        raise ValueError(f"`{name}` must be {_range(low, high)}, got {array[bad].flat[0]}{_position(bad)}.")
    return array


def ratios(values: ArrayLike, name: str) -> Floats:
    """`values` as float64 of one axis, none negative or NaN; infinity is a ratio too."""
    array = np.ravel(_as_float64(values, name))
    if not array.min() >= 0:
        bad = ~(array >= 0)
        raise ValueError(f"`{name}` must be at least 0, got {array[bad].flat[0]}{_position(bad)}.")
    return array


def share(value: SupportsFloat, name: str) -> float:
    """`value` as a float in (0, 1]."""
    number = float(value)
    if not 0 < number <= 1:
        raise ValueError(f"`{name}` must be above 0 and at most 1, got {value}.")
    return number


def matched(first: Floats, second: Floats, names: str) -> tuple[Floats, Floats]:
    """Both, of one shape; a single number goes with every value of the other."""
    if first.shape != second.shape and first.ndim and second.ndim:
        raise ValueError(f"{names} must have the same shape, got {first.shape} and {second.shape}.")
    return first, second


def texts(values: Sequence[str], name: str) -> Sequence[str]:
    """`values`, a sequence of strings, as it is."""
    if isinstance(values, str):
        raise TypeError(f"`{name}` must be a sequence of strings, got the string {values!r}. Put it in a list.")
    if not all(isinstance(each, str) for each in values):
        at, value = next((i, each) for i, each in enumerate(values) if not isinstance(each, str))
        raise TypeError(f"`{name}` must hold strings, got {value!r} at position {at}.")
    return values


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


def number_blocks(values: Any, name: str, *, low: float = -np.inf, high: float = np.inf) -> Iterator[Ragged]:
    """One answer (a sequence of numbers) or several (a sequence of such sequences), block by block.

    Args:
        values: The answers; none may be empty.
        name: What errors call them.
        low: The least value allowed.
        high: The greatest.

    Yields:
        The answers as finite float64 from `low` to `high`.

    Raises:
        ValueError: If there is no answer, one is empty, or a value is out of range.
        TypeError: If a value is no number.
    """
    for first, block in _blocks(values, name):
        flat = _as_float64(block.flat, name)
        if not _all_within(flat, low, high):
            bad = ~((flat >= low) & (flat <= high) & np.isfinite(flat))
            raise ValueError(f"`{name}` must be {_range(low, high)}, got {_first_bad(block, bad, first)}.")
        yield block._replace(flat=flat)


def boolean_blocks(values: Any, name: str) -> Iterator[Ragged]:
    """As `number_blocks`, of booleans (or 0 and 1)."""
    for first, block in _blocks(values, name):
        bad = ~((block.flat == 0) | (block.flat == 1))
        if bad.any():
            raise ValueError(f"`{name}` must hold True and False alone, got {_first_bad(block, bad, first)}.")
        yield block._replace(flat=block.flat.astype(bool))


def as_passed(values: Any, scores: Iterable[Floats]) -> Any:
    """The scores of all blocks as the caller passed the answers: an array for several, a number for one."""
    found = list(scores)
    return found[0][0] if np.ndim(values[0]) == 0 else np.concatenate(found)


def same_lengths(first: Ragged, second: Ragged, names: str) -> None:
    """Raise unless the answers have the same lengths."""
    if not np.array_equal(first.lengths, second.lengths):
        raise ValueError(f"{names} must have the same number of tokens in each answer.")


def _blocks(values: Any, name: str) -> Iterator[tuple[int, Ragged]]:
    """Blocks of answers, each with the position of its first answer."""
    if np.isscalar(values):
        raise TypeError(f"`{name}` must be an answer or a sequence of answers, got {values!r}.")
    if len(values) == 0:
        raise ValueError(f"`{name}` is empty. Give at least one answer of at least one token.")
    if np.ndim(values[0]) == 0:
        flat = np.asarray(values)
        yield 0, Ragged(flat, np.array([flat.size]), True)
        return
    for first in range(0, len(values), _BLOCK):
        yield first, _several(values[first : first + _BLOCK], name, first)


def _several(values: Any, name: str, first: int) -> Ragged:
    """Answers `first` and following."""
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.size:
        return Ragged(values.ravel(), np.full(len(values), values.shape[1]), False)
    answers = [np.asarray(answer) for answer in values]
    wrong = [i for i, answer in enumerate(answers) if answer.ndim != 1 or not answer.size]
    if wrong:
        what = "an empty answer" if answers[wrong[0]].ndim == 1 else f"{values[wrong[0]]!r} instead of an answer"
        raise ValueError(f"`{name}` has {what} at position {first + wrong[0]}. An answer has at least its end token.")
    return Ragged(np.concatenate(answers), np.array([answer.size for answer in answers]), False)


def _first_bad(block: Ragged, bad: NDArray[np.bool_], first: int) -> str:
    at = int(bad.argmax())
    row = int(block.rows[at])
    answer = "" if block.single else f" in answer {first + row}"
    return f"{block.flat[at]}{answer} at position {at - block.starts[row]}"


def _as_float64(values: ArrayLike, name: str) -> Floats:
    try:
        array = np.asarray(values)
    except ValueError:  # numpy's words for it name neither the argument nor the remedy
        raise ValueError(f"`{name}` must be numbers in a regular array, got rows of different lengths.") from None
    if array.size == 0:
        raise ValueError(f"`{name}` is empty, so there is nothing to measure. Give at least one value.")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must be numbers in a regular array, got {array.dtype}.")
    return array.astype(np.float64, copy=False)


def _all_within(array: Floats, low: float, high: float) -> bool:
    """Whether all are finite and in range; without temporary arrays, as a NaN is its array's minimum."""
    least, greatest = array.min(), array.max()
    return bool(np.isfinite(least) and np.isfinite(greatest) and low <= least and greatest <= high)


def _range(low: float, high: float) -> str:
    bounds = [("at least", low), ("at most", high)]
    return " and ".join(["finite", *(f"{word} {bound:g}" for word, bound in bounds if np.isfinite(bound))])


def _position(bad: NDArray[np.bool_]) -> str:
    at = np.argwhere(bad)[0]
    return f" at position {', '.join(map(str, at))}" if at.size else ""
