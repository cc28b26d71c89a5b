"""Numbers over sets, as `benchmarks.AGGREGATES` describes them."""

from collections.abc import Mapping, Sequence

import numpy as np

from unlearn_metrics import _estimates
from unlearn_metrics import functional as F
from unlearn_metrics._cells import Cells
from unlearn_metrics._estimates import Estimate
from unlearn_metrics.benchmarks import Aggregate, role

NO_TARGET = "no evidence on the target was given"


def aggregates(
    cells: Cells, target: Cells | None, wanted: Mapping[str, Aggregate]
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """What is wanted by name, and why it could not be had.

    Args:
        cells: Estimates of the model.
        target: Those of the model before unlearning, for percentages of what it knew.
        wanted: Descriptions by name.
    """
    outcomes = {
        name: _harmonic(cells, each) if each.formula == "harmonic_mean" else _percentage(cells, target, each)
        for name, each in wanted.items()
    }
    found = {name: each for name, each in outcomes.items() if isinstance(each, Estimate)}
    return found, {name: each for name, each in outcomes.items() if isinstance(each, str)}


def _harmonic(cells: Cells, wanted: Aggregate) -> Estimate | str:
    chosen = _chosen(cells, wanted)
    if isinstance(chosen, str):
        return chosen
    parts, n = [], 0
    for name in chosen:
        of_set = cells.get((name, wanted.modality), {})
        metrics = [_preferred(metric, name) for metric in wanted.metrics]
        absent = [metric for metric in metrics if metric not in of_set]
        if absent:
            return f"no {absent[0]} on the {wanted.modality} rows of {name}"
        parts += [of_set[metric] for metric in metrics]
        # Not every row has every metric, and rows that have others alone do not count.
        n += max(of_set[metric].n for metric in metrics)
    return _estimates.harmonic(parts, n)


def _preferred(metric: str, set_name: str) -> str:
    """Of the real sets, the probability is the normalized one, as published."""
    return "normalized_probability" if metric == "probability" and role(set_name) == "real" else metric


def _percentage(cells: Cells, target: Cells | None, wanted: Aggregate) -> Estimate | str:
    """What the model kept or lost of what the target knows, in percent."""
    if target is None:
        return NO_TARGET
    chosen = _chosen(cells, wanted)
    if isinstance(chosen, str):
        return chosen
    (metric,) = wanted.metrics
    keys = [(name, wanted.modality) for name in chosen]
    for name, modality in keys:
        if any(metric not in each.get((name, modality), {}) for each in (cells, target)):
            return f"no {metric} on the {modality} rows of {name}, of both the model and the target"
    after, before = (_mean([each[key][metric] for key in keys]) for each in (cells, target))
    if before.value == 0:
        return f"the target has no {metric} to lose"
    percent = F.forgotten_pct if wanted.formula == "forgotten_pct" else F.retained_pct
    drawn = np.full(_estimates.SAMPLES, np.nan)
    # A resample in which the target knows nothing says nothing.
    known = before.resampled > 0
    if known.any():
        drawn[known] = percent(before.resampled[known], after.resampled[known])
    return Estimate(float(percent(before.value, after.value)), drawn, after.n)


def _mean(parts: Sequence[Estimate]) -> Estimate:
    values, drawn = [part.value for part in parts], np.stack([part.resampled for part in parts])
    return Estimate(float(np.mean(values)), drawn.mean(axis=0), sum(part.n for part in parts))


def _chosen(cells: Cells, wanted: Aggregate) -> list[str] | str:
    """The sets that count, or which are not there."""
    chosen = sorted({name for name, _ in cells if name in wanted.sets or role(name) in wanted.sets})
    absent = [each for each in wanted.sets if not any(each in (name, role(name)) for name in chosen)]
    required = [name for name in absent if name in wanted.required]
    if required or not chosen:
        return f"the evidence has no set {', '.join(required or absent)}"
    return chosen
