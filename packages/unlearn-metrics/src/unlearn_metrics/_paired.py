"""Differences of two models on the same rows: their size, their interval, and whether they may be chance."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unlearn_metrics import _estimates
from unlearn_metrics._arrow import is_one_of
from unlearn_metrics._cells import set_metrics
from unlearn_metrics._estimates import Draw, Unit
from unlearn_metrics._rows import row_metrics
from unlearn_metrics._same_rows import check_same
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.functional import PairedDifference
from unlearn_metrics.functional._inputs import Floats
from unlearn_metrics.functional._statistics import percentile_interval
from unlearn_metrics.logs import Log

#: Differences by set and metric.
Differences = dict[str, dict[str, PairedDifference]]

FLIPS = 4999
_BLOCK = 1 << 21


def paired(evidence: Evidence | Log, other: Evidence | Log, *, resample: Unit = "subjects") -> Differences:
    """Differences between two models on the same rows, `evidence` minus `other`.

    The interval is the percentile bootstrap; the p-value is that of the test that flips signs at random. Both take a
    subject's rows together, unless `resample` says otherwise.

    Args:
        evidence: Evidence on one model, or a log.
        other: The same on another, on the same rows.
        resample: `subjects`, or `rows` to take every row on its own.

    Returns:
        {set: {metric: difference}}, for the metrics that both give, on the rows that have them, two at least.

    Raises:
        ValueError: If they hold other rows, or `resample` is unknown.
    """
    ours, theirs = row_metrics(evidence), row_metrics(other)
    check_same(ours, theirs, ["set", "id"], "the other model's evidence")
    return {name: _of_set(ours, theirs, name, resample) for name in sorted(pc.unique(ours["set"]).to_pylist())}


def holm(p: Floats) -> Floats:
    """P-values adjusted for their number, so that the chance of even one false finding stays below the level.

    Source: Holm, 1979.

    Args:
        p: P-values of all comparisons made, shape (n,).

    Returns:
        The adjusted ones, shape (n,).

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    adjusted = np.empty(p.size)
    adjusted[order] = stepped
    return adjusted


def _of_set(ours: pa.Table, theirs: pa.Table, name: str, unit: Unit) -> dict[str, PairedDifference]:
    rows, others = (table.filter(is_one_of(table["set"], [name])) for table in (ours, theirs))
    first, second = set_metrics(rows), set_metrics(others)
    gaps = {metric: first[metric] - second[metric] for metric in first if metric in second}
    gaps = {metric: gap for metric, gap in gaps.items() if np.isfinite(gap).sum() >= 2}
    how = _estimates.draw(rows, unit, name)
    if not gaps or how.units < 2:
        return {}
    p = _sign_flip_p(np.stack(list(gaps.values()), axis=1), how)
    found = {}
    for at, (metric, each) in enumerate(_estimates.means(gaps, how).items()):
        low, high = percentile_interval(each.resampled[np.isfinite(each.resampled)])
        found[metric] = PairedDifference(each.value, low, high, float(p[at]), each.n)
    return found


def _sign_flip_p(gaps: Floats, how: Draw) -> Floats:
    """How often random signs of the units give a sum as large as the observed one, for each column of gaps."""
    sums = np.zeros((how.units, gaps.shape[1]))
    np.add.at(sums, how.unit, np.nan_to_num(gaps))
    observed = np.abs(sums.sum(axis=0)) * (1 - 1e-12)
    rng = np.random.default_rng(0)
    count: NDArray[np.int64] = np.zeros(gaps.shape[1], dtype=np.int64)
    size = max(1, _BLOCK // how.units)
    for start in range(0, FLIPS, size):
        signs = rng.integers(2, size=(min(size, FLIPS - start), how.units)) * 2.0 - 1
        count += (np.abs(signs @ sums) >= observed).sum(axis=0)
    p: Floats = (1 + count) / (1 + FLIPS)
    return p


def adjusted(differences: Mapping[str, Differences]) -> dict[str, dict[str, dict[str, float]]]:
    """The p-values of all differences, of all models together, adjusted for their number."""
    keys = [
        (model, name, metric)
        for model, sets in differences.items()
        for name, metrics in sets.items()
        for metric in metrics
    ]
    found: dict[str, dict[str, dict[str, float]]] = {
        model: {name: {} for name in of} for model, of in differences.items()
    }
    p = np.array([differences[model][name][metric].p for model, name, metric in keys])
    for (model, name, metric), value in zip(keys, holm(p), strict=True):
        found[model][name][metric] = float(value)
    return found
