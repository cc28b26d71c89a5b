"""Membership attacks on the forget rows, and what they leak beyond the retrained model."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unlearn_metrics import _estimates
from unlearn_metrics import functional as F
from unlearn_metrics._estimates import Counts, Estimate, Unit
from unlearn_metrics._same_rows import check_same, of_role
from unlearn_metrics.functional._inputs import Floats
from unlearn_metrics.functional._membership import ATTACKS

#: The column of the row table that each attack takes.
COLUMNS = {attack: "zlib_ratio" if attack == "zlib" else attack for attack in ATTACKS}
#: Names of the leakages, and the options of `privleak` that each has; MUSE takes Min-K.
LEAKAGES: dict[str, dict[str, bool]] = {"privleak": {}, "privleak_ou": {"ou_compat": True}}
_LEAK_ATTACK = "min_k"


def memberships(rows: pa.Table, unit: Unit) -> tuple[dict[str, Estimate], dict[str, str]]:
    """How well each attack tells the forget rows from the held-out ones, and why others are not there."""
    areas = {attack: _area(rows, attack, unit) for attack in ATTACKS}
    found = {f"{attack}_auc": area for attack, area in areas.items() if area}
    return found, {f"{attack}_auc": _reason(rows, attack) for attack, area in areas.items() if not area}


def leakages(rows: pa.Table, retrained: pa.Table, unit: Unit) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Privacy leakage by Min-K: how much the area differs from the retrained model's, in percent."""
    area, reference = (_area(table, _LEAK_ATTACK, unit) for table in (rows, retrained))
    if area is None:
        return {}, dict.fromkeys(LEAKAGES, _reason(rows, _LEAK_ATTACK))
    if reference is None:
        return {}, dict.fromkeys(LEAKAGES, f"of the retrained model: {_reason(retrained, _LEAK_ATTACK)}")
    for name in ("forget", "holdout"):
        ours, theirs = of_role(rows, name), of_role(retrained, name)
        check_same(ours, theirs, ["id"], "the retrained model's evidence")
    outcomes = {name: _leakage(area, reference, **options) for name, options in LEAKAGES.items()}
    found = {name: each for name, each in outcomes.items() if each}
    reason = f"the retrained model's {_LEAK_ATTACK} area is {reference.value:g}, which leaves nothing to divide by"
    return found, {name: reason for name in outcomes if name not in found}


def _reason(rows: pa.Table, attack: str) -> str:
    if not all(of_role(rows, name).num_rows for name in ("forget", "holdout")):
        return "the evidence has not both a forget and a holdout set"
    return f"no {COLUMNS[attack]} on the rows of both the forget and the holdout set"


def _leakage(area: Estimate, reference: Estimate, *, ou_compat: bool = False) -> Estimate | None:
    """The leakage, or None where the area that it is measured by is at its limit."""
    if reference.value == (1 if ou_compat else 0):
        return None
    value = float(F.privleak(area.value, reference.value, ou_compat=ou_compat))
    drawn = np.full(_estimates.SAMPLES, np.nan)
    # A resample in which the retrained model's area is at its limit has no ratio.
    usable = (reference.resampled > 0) & (reference.resampled < 1) & np.isfinite(area.resampled)
    if usable.any():
        drawn[usable] = F.privleak(area.resampled[usable], reference.resampled[usable], ou_compat=ou_compat)
    return Estimate(value, drawn, area.n)


def _scores(rows: pa.Table, attack: str) -> tuple[pa.Table, pa.Table] | None:
    """The forgotten and the held-out rows that have a score, or None where one side has none."""
    parts = [of_role(rows, name) for name in ("forget", "holdout")]
    forget, holdout = (part.filter(pc.is_valid(part[COLUMNS[attack]])) for part in parts)
    return (forget, holdout) if forget.num_rows and holdout.num_rows else None


def _area(rows: pa.Table, attack: str, unit: Unit) -> Estimate | None:
    """The area of an attack and of its resamples, or None where one side has no scores."""
    parts = _scores(rows, attack)
    if parts is None:
        return None
    members, others = (part[COLUMNS[attack]].to_numpy() for part in parts)
    value, n = F.auc(members, others, members=ATTACKS[attack]), members.size + others.size
    draws = [_estimates.draw(part, unit, name) for part, name in zip(parts, ("members", "others"), strict=True)]
    if min(each.units for each in draws) < 2:
        return Estimate(value, np.full(_estimates.SAMPLES, np.nan), n)
    order = np.argsort(others, kind="stable")
    low, high = (np.searchsorted(others[order], members, side=side) for side in ("left", "right"))
    per_block = _estimates.block_size(n)
    areas = [
        (ours * _below(theirs[:, order], low, high)).sum(axis=1) / (ours.sum(axis=1) * theirs.sum(axis=1, dtype=float))
        for ours, theirs in zip(*(each.of_rows(per_block) for each in draws), strict=True)
    ]
    drawn = np.concatenate(areas)
    return Estimate(value, drawn if ATTACKS[attack] == "high" else 1 - drawn, n)


def _below(counts: Counts, low: NDArray[np.int64], high: NDArray[np.int64]) -> Floats:
    """How many of the others each member exceeds in each resample, ties counting half."""
    cumulated = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
    below: Floats = (cumulated[:, low] + cumulated[:, high]) / 2
    return below
