"""How far a number can be trusted: bootstrap intervals and paired differences."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unlearn_metrics.functional._inputs import Floats, numbers

#: Resamples are drawn so many numbers at a time, so that memory grows neither with their count nor much with the rows.
_BLOCK = 1 << 18


class Interval(NamedTuple):
    """Lower and upper bound."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """Mean difference between two models on the same rows.

    Attributes:
        difference: Mean of first minus second.
        low: Lower bound of its interval.
        high: Upper bound.
        p: Two-sided p-value of the hypothesis that the signs of the differences are random.
        n: Number of rows.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Floats], Floats] | None = None,
    *,
    confidence: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean, or of another statistic, of per-row values.

    The values are sorted first, so that their order changes nothing; the same seed gives the same interval.
    Source: Efron, 1979.

    Args:
        values: One value a row, shape (n,), n at least 2.
        statistic: Function from resamples, shape (b, n), to their statistics, shape (b,); the mean where None.
        confidence: Share of the resampled statistics that the interval holds.
        samples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The lower and upper bound.

    Raises:
        ValueError: If there are fewer than two values, one is NaN or infinite, or an option is out of range.

    Example:
        >>> low, high = bootstrap_interval([0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
        >>> low, high
        (0.5, 1.0)
    """
    rows = np.sort(numbers(values, "values"), axis=None)
    if rows.size < 2:
        raise ValueError("`values` must hold at least 2 values for an interval, got 1.")
    if samples < 1:
        raise ValueError(f"`samples` must be at least 1, got {samples}.")
    _tail(confidence)
    rng = np.random.default_rng(seed)
    of_rows = statistic or _row_means
    found = np.concatenate([np.ravel(of_rows(_resamples(rows, count, rng))) for count in _blocks(samples, rows.size)])
    if found.size != samples or np.isnan(found).any():
        raise ValueError(
            f"`statistic` must give one number for each of {samples} resamples, got {found.size} with "
            f"{np.isnan(found).sum()} NaN."
        )
    return percentile_interval(found, confidence)


def paired_difference(
    values: ArrayLike, other_values: ArrayLike, *, confidence: float = 0.95, samples: int = 1000, seed: int = 0
) -> PairedDifference:
    """Mean difference between two models measured on the same rows.

    The interval is the percentile bootstrap over rows; the p-value is of the sign-flip permutation test with as many
    random flips. Rows are sorted by their difference first, so their order changes nothing.
    Source: Efron, 1979, for the interval; Fisher, 1935, for the test.

    Args:
        values: Per-row values of the first model, shape (n,), n at least 2.
        other_values: Those of the second model, row by row.
        confidence: Share of the resampled differences that the interval holds.
        samples: Number of resamples and of sign flips.
        seed: Seed of both.

    Returns:
        The difference with its interval, p-value and count.

    Raises:
        ValueError: If the counts differ or are below two, or a value is NaN or infinite.

    Example:
        >>> paired_difference([1.0, 0.5, 0.75, 1.0], [1.0, 0.5, 0.75, 1.0])
        PairedDifference(difference=0.0, low=0.0, high=0.0, p=1.0, n=4)
    """
    first, second = np.ravel(numbers(values, "values")), np.ravel(numbers(other_values, "other_values"))
    if first.size != second.size:
        raise ValueError(f"both must have the same rows, got {first.size} and {second.size} values.")
    differences = np.sort(first - second)
    low, high = bootstrap_interval(differences, confidence=confidence, samples=samples, seed=seed)
    mean = float(differences.mean())
    p = _sign_flip_p(differences, samples, seed)
    return PairedDifference(mean, low, high, p, first.size)


def percentile_interval(statistics: Floats, confidence: float = 0.95) -> Interval:
    """The interval that holds the middle of the resampled statistics."""
    tail = _tail(confidence)
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return Interval(float(low), float(high))


def resample_counts(n: int, samples: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """How often each of n rows occurs in each of `samples` resamples, shape (samples, n)."""
    drawn = rng.integers(n, size=(samples, n))
    drawn += n * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * n).astype(np.int32).reshape(samples, n)


def _tail(confidence: float) -> float:
    """What an interval leaves out on each side."""
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be above 0 and below 1, got {confidence}.")
    return (1 - confidence) / 2


def _row_means(resamples: Floats) -> Floats:
    means: Floats = resamples.mean(axis=1)
    return means


def _resamples(rows: Floats, count: int, rng: np.random.Generator) -> Floats:
    """So many resamples of the rows, shape (count, n)."""
    drawn = np.empty(count * rows.size)
    for start in range(0, drawn.size, _BLOCK):
        part = drawn[start : start + _BLOCK]
        part[:] = rows[rng.integers(rows.size, size=part.size)]
    return drawn.reshape(count, rows.size)


def _blocks(samples: int, n: int) -> list[int]:
    """`samples` cut into counts of at most a block's worth of numbers."""
    size = max(1, _BLOCK // n)
    return [min(size, samples - start) for start in range(0, samples, size)]


def _sign_flip_p(differences: Floats, samples: int, seed: int) -> float:
    rng = np.random.default_rng([seed, 1])
    observed, count = abs(differences.sum()), 0
    for block in _blocks(samples, differences.size):
        sums = np.zeros(block)
        for start in range(0, differences.size, _BLOCK):
            part = differences[start : start + _BLOCK]
            sums += (rng.integers(2, size=(block, part.size), dtype=np.int8) * 2 - 1) @ part
        count += int((np.abs(sums) >= observed * (1 - 1e-12)).sum())
    return (1 + count) / (1 + samples)
