"""Estimates: a value, what it becomes when the rows are resampled, and how many rows it rests on."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from unlearn_metrics.functional._inputs import Floats
from unlearn_metrics.functional._statistics import percentile_interval, resample_counts
from unlearn_metrics.functional._utility import harmonic_means

SAMPLES = 1000
# Resamples are drawn in blocks of at most this many counts.
_BLOCK = 1 << 21

Counts = NDArray[np.int32]


class Number(TypedDict):
    """A value with its 95 % bootstrap interval (None where there is nothing to resample) and its count of rows."""

    value: float
    low: float | None
    high: float | None
    n: int


class Estimate(NamedTuple):
    """A value, the same of each resample of its rows (NaN where a resample lacks it), and its count of rows."""

    value: float
    resampled: Floats
    n: int

    def number(self) -> Number:
        """The value with its interval, widened to hold the value where resampling is biased, as it is for p-values."""
        finite = self.resampled[np.isfinite(self.resampled)]
        if self.n < 2 or not finite.size:
            return Number(value=self.value, low=None, high=None, n=self.n)
        low, high = percentile_interval(finite)
        return Number(value=self.value, low=min(low, self.value), high=max(high, self.value), n=self.n)


def block_size(n: int) -> int:
    """How many resamples of n rows are held at a time."""
    return max(1, _BLOCK // n)


def resamples(n: int, name: str, per_block: int | None = None) -> Iterator[Counts]:
    """How often each of n rows counts in each resample, block by block; the same for the same name and n."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    size = per_block or block_size(n)
    for start in range(0, SAMPLES, size):
        yield resample_counts(n, min(size, SAMPLES - start), rng)


def means(values: Mapping[str, Floats], name: str) -> dict[str, Estimate]:
    """The mean of each metric over the rows that have it.

    Args:
        values: Per-row values by metric, shape (n,) each, NaN where a row lacks the metric.
        name: What the rows are; seeds the resampling.

    Returns:
        An estimate for each metric that at least one row has.
    """
    values = {metric: column for metric, column in values.items() if not np.isnan(column).all()}
    if not values:
        return {}
    matrix = np.stack(list(values.values()), axis=1)
    has = ~np.isnan(matrix)
    filled = np.where(has, matrix, 0.0)
    sums, counts = [filled.sum(axis=0)], [has.sum(axis=0)]
    for block in resamples(len(matrix), name):
        weights = block.astype(np.float64)
        sums.append(weights @ filled)
        counts.append(weights @ has)
    with np.errstate(invalid="ignore"):
        ratio = np.vstack(sums) / np.vstack(counts)
    n = has.sum(axis=0)
    return {metric: Estimate(float(ratio[0, i]), ratio[1:, i], int(n[i])) for i, metric in enumerate(values)}


def harmonic(parts: Sequence[Estimate], n: int) -> Estimate:
    """The harmonic mean of estimates whose resamples belong together."""
    values = np.array([part.value for part in parts])
    resampled = np.stack([part.resampled for part in parts], axis=1)
    return Estimate(float(harmonic_means(values)), harmonic_means(resampled), n)


def resampled(statistic: Callable[[Counts], Floats], n: int, name: str) -> Floats:
    """A statistic of the counts of rows, for every resample."""
    return np.concatenate([statistic(block) for block in resamples(n, name)])
