"""Forget quality: are the truth ratios of the unlearned model those of a model that never saw the data?"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unlearn_metrics.functional._inputs import Floats, ratios

JS_BINS = 20
# Up to this many rows the p-value is exact; scipy draws the line there too.
_MAX_EXACT = 10_000
# Beyond these, scipy's exact p-value has underflowed or may be its asymptotic fallback.
_TINY, _NEAR_ONE = 1e-300, 0.9
# Rows that are looked up at a time, so that memory is that of the input and little more.
_BLOCK = 1 << 16


class ForgetQuality(NamedTuple):
    """Outcome of the two-sample Kolmogorov-Smirnov test.

    Attributes:
        p: The p-value, from 0 to 1; higher is better. 0.0 where it is below the smallest float64.
        statistic: The largest gap between the two distribution functions, from 0 to 1; lower is better.
        log10_p: The logarithm of the p-value, finite however small it is.
    """

    p: float
    statistic: float
    log10_p: float


def forget_quality(truth_ratios: ArrayLike, retrained_truth_ratios: ArrayLike) -> ForgetQuality:
    """Two-sided Kolmogorov-Smirnov test of the truth ratios of the unlearned against those of the retrained model.

    The p-value is that of the exact distribution (of the asymptotic one for unequal counts above 10,000).
    Source: TOFU (Maini et al., 2024), section 2.2.4; Hodges, 1958, for the exact distribution.

    Args:
        truth_ratios: R of each row of the forget set under the unlearned model, shape (n,).
        retrained_truth_ratios: R under the retrained model, shape (m,).

    Returns:
        The p-value, the statistic and the logarithm of the p-value.

    Raises:
        ValueError: If one of them is empty, or a ratio is negative or NaN.

    Example:
        >>> quality = forget_quality([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
        >>> round(quality.p, 6), quality.statistic, round(quality.log10_p, 6)
        (0.028571, 1.0, -1.544068)
    """
    first = np.sort(ratios(truth_ratios, "truth_ratios"))
    second = np.sort(ratios(retrained_truth_ratios, "retrained_truth_ratios"))
    n, m = first.size, second.size
    gap = _largest_gap(first, second)
    if n == m:
        log_p = log_p_of_gap(gap // n, n)
        return ForgetQuality(math.exp(log_p), gap // n / n, log_p / math.log(10))
    log_p = _log_p_unequal(first, second, gap / (n * m))
    return ForgetQuality(math.exp(log_p), gap / (n * m), log_p / math.log(10))


def forget_quality_js(
    truth_ratios: ArrayLike, retrained_truth_ratios: ArrayLike, bins: int = JS_BINS, *, clear_compat: bool = False
) -> float:
    """One minus the Jensen-Shannon distance between the two distributions of truth ratios.

    The distributions are histograms of R / (1 + R), the probability of wrong against right, over `bins` equal bins of
    [0, 1]; logarithms to base 2, so that 0 means disjoint and 1 equal. The order of rows plays no part.
    Source: the paper of CLEAR (Dontsov et al., 2024).

    CLEAR's published numbers come from code that compares the vectors of 1 / R themselves, row by row, as if each row
    were an outcome, with natural logarithms: the number depends on the order of rows and is at least 0.167. Besides,
    that code averages the loss of the wrong answers over the whole set, and a factor common to all rows cancels, so
    that wrong answers play no part. `clear_compat` gives this number, of ratios that were built alike:
    `truth_ratio(paraphrase_nll, np.full((n, 1), perturbed_nll.mean()))`.

    Args:
        truth_ratios: R of each row of the forget set under the unlearned model, shape (n,).
        retrained_truth_ratios: R under the retrained model, shape (m,).
        bins: How many bins.
        clear_compat: Compare the vectors as CLEAR's code does; needs n = m, and `bins` plays no part.

    Returns:
        The similarity, from 0 to 1; higher is better.

    Raises:
        ValueError: If one of them is empty, a ratio is negative or NaN, `bins` is less than 1, or with `clear_compat`
            the counts differ, a ratio is 0 or all are infinite.

    Example:
        >>> forget_quality_js([0.1, 0.2, 5.0], [5.0, 0.2, 0.1]), forget_quality_js([0.0, 0.0], [9.0, 9.0])
        (1.0, 0.0)
        >>> round(forget_quality_js([0.1, 0.2, 5.0], [5.0, 0.2, 0.1], clear_compat=True), 4)
        0.3672
    """
    first = ratios(truth_ratios, "truth_ratios")
    second = ratios(retrained_truth_ratios, "retrained_truth_ratios")
    if clear_compat:
        return _js_of_vectors(first, second)
    if bins < 1:
        raise ValueError(f"`bins` must be at least 1, got {bins}.")
    counts = [np.bincount(js_bins(each, bins), minlength=bins)[None] for each in (first, second)]
    return float(js_similarities(*counts)[0])


def js_bins(truth_ratios: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of R / (1 + R) of each row."""
    with np.errstate(divide="ignore"):
        wrong_share = 1 / (1 + 1 / truth_ratios)
    return np.minimum((wrong_share * bins).astype(np.int64), bins - 1)


def js_similarities(counts: NDArray[Any], other_counts: NDArray[Any]) -> Floats:
    """1 - JS distance between rows of two tables of counts, shape (b, bins) each."""
    p = counts / counts.sum(axis=1, keepdims=True)
    q = other_counts / other_counts.sum(axis=1, keepdims=True)
    divergence = (_relative_entropy(p, (p + q) / 2) + _relative_entropy(q, (p + q) / 2)) / 2
    return 1 - np.sqrt(np.clip(divergence, 0, 1))


def _js_of_vectors(first: Floats, second: Floats) -> float:
    """1 - JS distance, in natural units, between 1 / R of two models, row by row."""
    if first.size != second.size:
        raise ValueError(f"`clear_compat` needs the same rows of both models, got {first.size} and {second.size}.")
    if not (first.min() > 0 and second.min() > 0):
        raise ValueError("`clear_compat` needs ratios above 0, got 0.0, whose reciprocal is infinite.")
    if not (np.isfinite(first).any() and np.isfinite(second).any()):
        raise ValueError("`clear_compat` needs a finite ratio, got infinite ones alone.")
    # Over the largest first, so that no sum overflows.
    p, q = (each.min() / each for each in (first, second))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p[None], middle[None]) + _relative_entropy(q[None], middle[None]))[0] / 2
    return float(1 - math.sqrt(max(0.0, divergence * math.log(2))))


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    entropies: Floats = (p * np.log2(np.where(p > 0, p, 1) / np.where(p > 0, q, 1))).sum(axis=1)
    return entropies


def ks_gaps(first: Floats, second: Floats, weights: NDArray[np.int32]) -> NDArray[np.int32]:
    """Largest gap, in rows, between the distribution functions of two samples of n rows.

    Args:
        first: One sample, shape (n,).
        second: The other, shape (n,).
        weights: How often each row counts, in both samples alike, shape (b, n): one resample a line.

    Returns:
        The gap of each resample, shape (b,); over n, it is the KS statistic.
    """
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, kind="stable")
    last_of_ties = np.append(pooled[order][1:] > pooled[order][:-1], True)
    signed = np.concatenate([weights, -weights], axis=1)[:, order]
    gaps: NDArray[np.int32] = np.abs(np.cumsum(signed, axis=1, dtype=np.int32)[:, last_of_ties]).max(axis=1)
    return gaps


def log_p_of_gap(gap: int, n: int) -> float:
    """Natural logarithm of the exact two-sided p-value for two samples of n rows.

    p = 2 (T(h) - T(2h) + T(3h) - ...),   T(s) = C(2n, n - s) / C(2n, n),   h the gap in rows
    """
    if gap == 0:
        return 0.0
    logs = [_log_binomial_ratio(n, gap)]
    while (shift := gap * (len(logs) + 1)) <= n and logs[-1] - logs[0] > -45:
        logs.append(_log_binomial_ratio(n, shift))
    signs = np.resize([1.0, -1.0], len(logs))
    return min(0.0, math.log(2) + logs[0] + math.log(np.sum(signs * np.exp(np.array(logs) - logs[0]))))


def _log_binomial_ratio(n: int, shift: int) -> float:
    """log(C(2n, n - shift) / C(2n, n)), term by term, so that nothing large cancels."""
    steps = np.arange(1, shift + 1)
    return float(np.log1p(-shift / (n + steps)).sum())


def _largest_gap(first: Floats, second: Floats) -> int:
    """Largest gap between the distribution functions of two sorted samples, in units of 1 / (n m)."""
    n, m, widest = first.size, second.size, 0
    for points in (each[start : start + _BLOCK] for each in (first, second) for start in range(0, each.size, _BLOCK)):
        up_to_first, up_to_second = (np.searchsorted(each, points, side="right") for each in (first, second))
        widest = max(widest, int(np.abs(up_to_first * m - up_to_second * n).max()))
    return widest


def _log_p_unequal(first: Floats, second: Floats, statistic: float) -> float:
    """Natural logarithm of the p-value for samples of different sizes."""
    from scipy.stats import ks_2samp, kstwo

    n, m = first.size, second.size
    exact = max(n, m) <= _MAX_EXACT
    if exact:
        with warnings.catch_warnings():
            # Where its exact sum leaves [0, 1] by rounding, scipy warns and falls back; we go on exactly.
            warnings.simplefilter("ignore", RuntimeWarning)
            p = float(ks_2samp(first, second, method="exact").pvalue)
    else:
        p = float(kstwo.sf(statistic, round(n * m / (n + m))))
    if p > _TINY and (p < _NEAR_ONE or not exact):
        return math.log(p)
    if exact:
        return min(0.0, _log_p_by_walk(statistic, n, m))
    return min(0.0, math.log(2) - 2 * statistic**2 * n * m / (n + m))


def _log_p_by_walk(statistic: float, n: int, m: int) -> float:
    """Log of the probability that a random order of n + m rows ever shows a gap as large.

    Rows are drawn without replacement, i from the first sample and j from the second; what reaches the gap is summed
    up and leaves the walk. All terms are positive, so the sum is exact to rounding however small it is.
    """
    wanted = round(statistic * n * m)
    i = np.arange(n + 1)
    log_mass, log_p = np.where(i == 0, 0.0, -np.inf), -np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        for step in range(1, n + m + 1):
            left = n + m - step + 1
            from_first = np.where(i < n, log_mass + np.log(np.maximum(n - i, 0) / left), -np.inf)
            second_left = m - (step - 1 - i)
            from_second = np.where(second_left > 0, log_mass + np.log(np.maximum(second_left, 0) / left), -np.inf)
            log_mass = np.logaddexp(from_second, np.append(-np.inf, from_first[:-1]))
            j = step - i
            reached = (np.abs(i * m - j * n) >= wanted) & (j >= 0) & (j <= m)
            if reached.any():
                log_p = np.logaddexp(log_p, np.logaddexp.reduce(log_mass[reached]))
                log_mass = np.where(reached, -np.inf, log_mass)
    return float(log_p)
