"""Forget quality on the forget rows of two models, with intervals."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics import _estimates
from unlearn_metrics import functional as F
from unlearn_metrics._arrow import is_one_of
from unlearn_metrics._estimates import Counts, Draw, Estimate, Unit
from unlearn_metrics._same_rows import check_same, of_role
from unlearn_metrics.functional import _forget_quality as quality
from unlearn_metrics.functional._inputs import Floats

#: Names of the numbers; those of one modality come on top, where there are rows of it.
QUALITIES = (
    "forget_quality",
    "forget_quality_statistic",
    "forget_quality_log10_p",
    "forget_quality_js",
    "forget_quality_clear_compat",
)
_RETRAINED = "the retrained model's evidence"


def forget_qualities(rows: pa.Table, retrained: pa.Table, unit: Unit) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Forget quality on the forget rows, those of all modalities together and each by itself.

    Returns:
        What was found, and why the rest was not.
    """
    ours, theirs = (of_role(table, "forget") for table in (rows, retrained))
    if not theirs.num_rows:
        return {}, dict.fromkeys(QUALITIES, f"{_RETRAINED} has no forget set")
    ours, theirs = (part.filter(pc.is_valid(part["truth_ratio"])) for part in (ours, theirs))
    check_same(ours, theirs, ["id"], _RETRAINED)
    if not ours.num_rows:
        return {}, dict.fromkeys(QUALITIES, "no row of a forget set has both a paraphrased and wrong answers")
    found = _qualities(ours, theirs, unit)
    missing: dict[str, str] = {}
    compat = _clear_compat(ours, theirs)
    if isinstance(compat, str):
        missing["forget_quality_clear_compat"] = compat
    else:
        found["forget_quality_clear_compat"] = compat
    for each in ("text", "image"):
        part = is_one_of(ours["modality"], [each])
        if pc.any(part).as_py():
            found[f"forget_quality_{each}"] = _qualities(ours.filter(part), theirs.filter(part), unit)["forget_quality"]
    return found, missing


def _qualities(ours: pa.Table, theirs: pa.Table, unit: Unit) -> dict[str, Estimate]:
    ratios, retrained = (table["truth_ratio"].to_numpy() for table in (ours, theirs))
    how, n = _estimates.draw(ours, unit, "forget quality"), ratios.size
    value = F.forget_quality(ratios, retrained)
    # Units of unequal size: a resample has as many rows as those that are drawn have.
    drawn = _estimates.resampled(lambda counts: _gaps(ratios, retrained, counts), how)
    gaps, totals = drawn[:, 0], drawn[:, 1]
    levels, inverse = np.unique(drawn, axis=0, return_inverse=True)
    log_ps = [quality.log_p_of_gap(int(gap), int(total)) if total > 0 else np.nan for gap, total in levels]
    log_p = np.array(log_ps)[inverse.ravel()]
    return {
        "forget_quality": Estimate(value.p, np.exp(log_p), n),
        "forget_quality_statistic": Estimate(value.statistic, gaps / totals, n),
        "forget_quality_log10_p": Estimate(value.log10_p, log_p / np.log(10), n),
        "forget_quality_js": _js(ratios, retrained, how),
    }


def _gaps(ratios: Floats, retrained: Floats, counts: Counts) -> Floats:
    gaps = quality.ks_gaps(ratios, retrained, counts)
    return np.stack([gaps, counts.sum(axis=1)], axis=1).astype(np.float64)


def _js(ratios: Floats, retrained: Floats, how: Draw) -> Estimate:
    bins = np.arange(quality.JS_BINS)
    first, second = (
        (quality.js_bins(each, bins.size)[:, None] == bins).astype(np.float64) for each in (ratios, retrained)
    )

    def similarities(counts: Counts) -> Floats:
        return quality.js_similarities(counts @ first, counts @ second)

    value = similarities(np.ones((1, ratios.size), dtype=np.int32))[0]
    return Estimate(float(value), _estimates.resampled(similarities, how), ratios.size)


def _clear_compat(ours: pa.Table, theirs: pa.Table) -> Estimate | str:
    """CLEAR's number on image rows (on all where there are none), in the order of their ids, or why there is none.

    It has no resamples.
    """
    images = is_one_of(ours["modality"], ["image"])
    if pc.any(images).as_py():
        ours, theirs = ours.filter(images), theirs.filter(images)
    losses = [(each["paraphrase_loss"].to_numpy(), each["perturbed_loss"].to_numpy()) for each in (ours, theirs)]
    if np.isnan(losses).any():
        return "not every row of both models has the losses of its paraphrase and of its wrong answers"
    ratios = [F.truth_ratio(right, np.full((right.size, 1), wrong.mean())) for right, wrong in losses]
    if not all(np.isfinite(each).any() and each.min() > 0 for each in ratios):
        return "truth ratios with CLEAR's mean over all wrong answers are 0 or infinite"
    value = F.forget_quality_js(*ratios, clear_compat=True)
    return Estimate(value, np.full(_estimates.SAMPLES, np.nan), ours.num_rows)
