"""Numbers over sets: harmonic means, forget quality, membership."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unlearn_metrics import _estimates
from unlearn_metrics._estimates import Counts, Estimate
from unlearn_metrics.benchmarks import Aggregate, role
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.functional import _forget_quality as quality
from unlearn_metrics.functional import auc, forget_quality
from unlearn_metrics.functional._inputs import Floats

#: Estimates by set, modality and metric.
Cells = Mapping[tuple[str, str], Mapping[str, Estimate]]

#: Membership attacks: the metric of a row, and whether a member has more or less of it.
_ATTACKS = {"loss": -1, "min_k": 1, "min_k_pp": 1, "zlib_ratio": -1}
ATTACK_NAMES = {"loss": "loss_auc", "min_k": "min_k_auc", "min_k_pp": "min_k_pp_auc", "zlib_ratio": "zlib_auc"}


def aggregate(cells: Cells, wanted: Aggregate) -> Estimate | str:
    """The harmonic mean that `wanted` describes, or why there is none."""
    names = {name for name, _ in cells}
    chosen = sorted(name for name in names if name in wanted.sets or role(name) in wanted.sets)
    absent = [each for each in wanted.sets if not any(each in (name, role(name)) for name in chosen)]
    required = [name for name in absent if name in wanted.required]
    if required or not chosen:
        return f"the evidence has no set {', '.join(required or absent)}"
    parts, n = [], 0
    for name in chosen:
        of_set = cells.get((name, wanted.modality), {})
        for metric in wanted.metrics:
            preferred = "normalized_probability" if metric == "probability" and role(name) == "real" else metric
            if preferred not in of_set:
                return f"no {preferred} on the {wanted.modality} rows of {name}"
            parts.append(of_set[preferred])
        n += max(of_set[metric].n for metric in of_set)
    return _estimates.harmonic(parts, n)


def forget_part(evidence: Evidence) -> Evidence | None:
    """The scores of the forget sets, which is all that forget quality needs; None where there are none."""
    names = [name for name in pc.unique(evidence.scores["set"]).to_pylist() if role(name) == "forget"]
    scores = evidence.scores.filter(pc.is_in(evidence.scores["set"], value_set=pa.array(names, pa.string())))
    return Evidence(scores, evidence.generations.slice(0, 0), evidence.info) if scores.num_rows else None


def forget_qualities(rows: pa.Table, retrained: pa.Table) -> dict[str, Estimate]:
    """Forget quality on the forget rows, those of all modalities together and each by itself."""
    ids, modality, ratios, retrained_ratios = _matched_truth_ratios(rows, retrained)
    if not ids:
        return {}
    found = _qualities(ratios, retrained_ratios)
    for each in ("text", "image"):
        part = modality == each
        if part.any():
            found[f"forget_quality_{each}"] = _qualities(ratios[part], retrained_ratios[part])["forget_quality"]
    return found


def memberships(rows: pa.Table) -> dict[str, Estimate]:
    """How well each attack tells the forget rows from the held-out ones."""
    forget, holdout = _of_role(rows, "forget"), _of_role(rows, "holdout")
    found = {}
    for metric, sign in _ATTACKS.items():
        members, others = (sign * _present(part, metric) for part in (forget, holdout))
        if members.size and others.size:
            found[ATTACK_NAMES[metric]] = _auc(members, others)
    return found


def _of_role(rows: pa.Table, wanted: str) -> pa.Table:
    """The rows of all sets of that role in the order of their id, each id once."""
    names = [name for name in pc.unique(rows["set"]).to_pylist() if role(name) == wanted]
    part = rows.filter(pc.is_in(rows["set"], value_set=pa.array(names, pa.string())))
    _, first = np.unique(np.asarray(part["id"]).astype(str), return_index=True)
    return part.take(first)


def _present(rows: pa.Table, metric: str) -> Floats:
    values: Floats = rows[metric].to_numpy()
    return values[~np.isnan(values)]


def _matched_truth_ratios(rows: pa.Table, retrained: pa.Table) -> tuple[list[str], NDArray[np.str_], Floats, Floats]:
    """Ids, modalities and truth ratios of the forget rows under both models, row by row."""
    ours, theirs = (_of_role(table, "forget") for table in (rows, retrained))
    ours, theirs = (part.filter(pc.is_valid(part["truth_ratio"])) for part in (ours, theirs))
    ids, other_ids = ours["id"].to_pylist(), theirs["id"].to_pylist()
    if ids != other_ids:
        differing = sorted(set(ids) ^ set(other_ids))
        raise ValueError(
            f"the retrained model's evidence holds other forget rows: {len(differing)} ids are in one of the two "
            f"alone, first {', '.join(differing[:3])}. Score both models on the same rows."
        )
    modality = np.array(ours["modality"].to_pylist(), dtype=str)
    return ids, modality, ours["truth_ratio"].to_numpy(), theirs["truth_ratio"].to_numpy()


def _qualities(ratios: Floats, retrained: Floats) -> dict[str, Estimate]:
    n = ratios.size
    value = forget_quality(ratios, retrained)
    gaps = _resampled(lambda counts: quality.ks_gaps(ratios, retrained, counts).astype(np.float64), n)
    levels, inverse = np.unique(gaps, return_inverse=True)
    log_p = np.array([quality.log_p_of_gap(int(gap), n) for gap in levels])[inverse]
    return {
        "forget_quality": Estimate(value.p, np.exp(log_p), n),
        "forget_quality_statistic": Estimate(value.statistic, gaps / n, n),
        "forget_quality_log10_p": Estimate(value.log10_p, log_p / np.log(10), n),
        "forget_quality_js": _js(ratios, retrained),
    }


def _js(ratios: Floats, retrained: Floats) -> Estimate:
    bins = np.arange(quality.JS_BINS)
    first, second = (
        (quality.js_bins(each, bins.size)[:, None] == bins).astype(np.float64) for each in (ratios, retrained)
    )

    def similarities(counts: Counts) -> Floats:
        return quality.js_similarities(counts @ first, counts @ second)

    value = similarities(np.ones((1, ratios.size), dtype=np.int32))[0]
    return Estimate(float(value), _resampled(similarities, ratios.size), ratios.size)


def _resampled(statistic: Callable[[Counts], Floats], n: int) -> Floats:
    return _estimates.resampled(statistic, n, "forget quality")


def _auc(members: Floats, others: Floats) -> Estimate:
    value = auc(members, others)
    members, others = np.sort(members), np.sort(others)
    low, high = (np.searchsorted(others, members, side=side) for side in ("left", "right"))
    per_block = _estimates.block_size(members.size + others.size)
    blocks = zip(
        _estimates.resamples(members.size, "members", per_block),
        _estimates.resamples(others.size, "others", per_block),
        strict=True,
    )
    areas = [(ours * _below(theirs, low, high)).sum(axis=1) for ours, theirs in blocks]
    pairs = members.size * others.size
    return Estimate(value, np.concatenate(areas) / pairs, members.size + others.size)


def _below(counts: Counts, low: NDArray[np.int64], high: NDArray[np.int64]) -> Floats:
    """How many of the others each member exceeds in each resample, ties counting half."""
    cumulated = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
    below: Floats = (cumulated[:, low] + cumulated[:, high]) / 2
    return below
