"""Estimates: a value, what it becomes when the rows are resampled, and how many rows it rests on."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, TypedDict, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unlearn_metrics.functional._inputs import Floats
from unlearn_metrics.functional._statistics import percentile_interval, resample_counts
from unlearn_metrics.functional._utility import harmonic_means

SAMPLES = 1000
# Resamples are drawn in blocks of at most this many counts.
_BLOCK = 1 << 21

Counts: TypeAlias = NDArray[np.int32]
#: What is drawn anew: subjects with all their rows, or single rows as if each were independent of all others.
Unit = Literal["subjects", "rows"]


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


class Draw(NamedTuple):
    """How rows are resampled: each in the unit that it belongs to, as often as the unit is drawn.

    Attributes:
        unit: The unit of each row, from 0, shape (n,).
        units: How many units there are; of a single one, nothing can be resampled.
        name: What the rows are; seeds the resampling, so that the same rows of two models are drawn alike.
    """

    unit: NDArray[np.int64]
    units: int
    name: str

    def of_units(self, per_block: int | None = None) -> Iterator[Counts]:
        """How often each unit counts in each resample, block by block."""
        size = per_block or block_size(self.units)
        if size >= SAMPLES:
            yield _all_counts(self.name, self.units)
            return
        rng = _seeded(self.name)
        for start in range(0, SAMPLES, size):
            yield resample_counts(self.units, min(size, SAMPLES - start), rng)

    def of_rows(self, per_block: int | None = None) -> Iterator[Counts]:
        """How often each row counts in each resample, block by block."""
        for counts in self.of_units(per_block or block_size(self.unit.size)):
            yield counts[:, self.unit]


@lru_cache(maxsize=4)
def _all_counts(name: str, units: int) -> Counts:
    """All resamples at once, kept: several statistics of the same rows follow one another."""
    counts = resample_counts(units, SAMPLES, _seeded(name))
    counts.flags.writeable = False
    return counts


def _seeded(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def block_size(n: int) -> int:
    """How many resamples of n rows are held at a time."""
    return max(1, _BLOCK // n)


def draw(rows: pa.Table, unit: Unit, name: str) -> Draw:
    """How to resample these rows; one without a subject is a unit of its own, and so is each of a sole subject."""
    if unit not in get_args(Unit):
        raise ValueError(f"`resample` must be one of {', '.join(get_args(Unit))}, got {unit!r}.")
    n = rows.num_rows
    codes = rows["subject"].combine_chunks().dictionary_encode()
    if unit == "rows" or (len(codes.dictionary) == 1 and not codes.null_count):
        return Draw(np.arange(n), n, name)
    subject = codes.indices.fill_null(-1).to_numpy()
    keys = np.where(subject < 0, len(codes.dictionary) + np.arange(n), subject)
    units, unit_of = np.unique(keys, return_inverse=True)
    return Draw(unit_of.ravel(), units.size, name)


def means(values: Mapping[str, Floats], how: Draw) -> dict[str, Estimate]:
    """The mean of each metric over the rows that have it.

    Args:
        values: Per-row values by metric, shape (n,) each, NaN where a row lacks the metric.
        how: How these rows are resampled.

    Returns:
        An estimate for each metric that at least one row has.
    """
    values = {metric: column for metric, column in values.items() if not np.isnan(column).all()}
    if not values:
        return {}
    matrix = np.stack(list(values.values()), axis=1)
    has = ~np.isnan(matrix)
    filled = np.where(has, matrix, 0.0)
    n = has.sum(axis=0)
    resampled = _resampled_means(filled, has, how)
    found = filled.sum(axis=0) / n
    return {metric: Estimate(float(found[i]), resampled[:, i], int(n[i])) for i, metric in enumerate(values)}


def _resampled_means(filled: Floats, has: NDArray[np.bool_], how: Draw) -> Floats:
    if how.units < 2:
        return np.full((SAMPLES, filled.shape[1]), np.nan)
    sums, counts = np.zeros((2, how.units, filled.shape[1]))
    np.add.at(sums, how.unit, filled)
    np.add.at(counts, how.unit, has)
    weights = np.concatenate([block.astype(np.float64) for block in how.of_units()])
    with np.errstate(invalid="ignore"):
        ratios: Floats = (weights @ sums) / (weights @ counts)
    return ratios


def harmonic(parts: Sequence[Estimate], n: int) -> Estimate:
    """The harmonic mean of estimates whose resamples belong together."""
    values = np.array([part.value for part in parts])
    resampled = np.stack([part.resampled for part in parts], axis=1)
    return Estimate(float(harmonic_means(values)), harmonic_means(resampled), n)


def resampled(statistic: Callable[[Counts], Floats], how: Draw) -> Floats:
    """A statistic of the counts of rows, for every resample; NaN where there is nothing to resample."""
    if how.units < 2:
        return np.full(SAMPLES, np.nan)
    return np.concatenate([statistic(block) for block in how.of_rows()])
