"""From evidence to numbers: every set, every modality, every metric, and the numbers over sets."""

from collections.abc import Iterator, Mapping
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics import _estimates, _summary
from unlearn_metrics._estimates import Estimate, Number
from unlearn_metrics._rows import row_metrics
from unlearn_metrics.benchmarks import AGGREGATES, Aggregate, Benchmark, role
from unlearn_metrics.benchmarks import benchmark as benchmark_named
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.functional._inputs import Floats
from unlearn_metrics.functional._truth_ratio import folded, margin

_SET_METRICS = (
    "probability",
    "normalized_probability",
    "rouge_l_recall",
    "keyword_accuracy",
    "truth_ratio",
    "exact_memorization",
    "extraction_strength",
    "mcq_accuracy",
)


class Results(TypedDict):
    """The numbers of one model, ready for JSON.

    `sets` is {set: {modality: {metric: number}}} with the modalities `text`, `image` and always `all`; `summary` is
    {name: number}; a number is {"value", "low", "high", "n"}. What the evidence cannot give is absent, and where that
    concerns a summary number, `missing` says why: {name: reason}.
    """

    sets: dict[str, dict[str, dict[str, Number]]]
    summary: dict[str, Number]
    missing: dict[str, str]


def compute(evidence: Evidence, retrained: Evidence | None = None, *, benchmark: str | None = None) -> Results:
    """Every metric that the evidence can give, with intervals; the order of rows changes nothing.

    Of the rows of a set, those of task `mcq` count for `mcq_accuracy` alone, all others for everything else. The truth
    ratio is mean min(R, 1/R) on forget and holdout sets and mean max(0, 1 - R) elsewhere. `keyword_accuracy` comes by
    task as well, as `keyword_accuracy_<task>`. `normalized_probability` is given on the real sets alone. Intervals
    hold 95 % of the values over 1000 resamples of the rows within each set.

    Args:
        evidence: Evidence on the model.
        retrained: Evidence on the model that never saw the forget set, for forget quality; on the same rows.
        benchmark: Name of a benchmark (see `unlearn_metrics.benchmarks`), to get what it reports and nothing else.

    Returns:
        The numbers.

    Raises:
        ValueError: If the retrained evidence holds other forget rows, if there is no such benchmark, or if the evidence
            has none of its sets.
    """
    wanted = benchmark_named(benchmark) if benchmark else None
    rows = row_metrics(evidence)
    cells = _cells(_of_benchmark(rows, wanted) if wanted else rows)
    found, missing = _aggregates(cells, wanted.aggregates if wanted else AGGREGATES)
    for more_found, more_missing in (_forget_quality(rows, retrained), _membership(rows)):
        found, missing = found | more_found, missing | more_missing
    if wanted:
        names = {*wanted.aggregates, *wanted.summary}
        found = {name: each for name, each in found.items() if name in names}
        missing = {name: reason for name, reason in missing.items() if name in names}
    sets: dict[str, dict[str, dict[str, Number]]] = {}
    for (name, modality), of_cell in cells.items():
        shown = {metric: each.number() for metric, each in of_cell.items() if not wanted or metric in wanted.metrics}
        sets.setdefault(name, {})[modality] = shown
    return Results(sets=sets, summary={name: each.number() for name, each in found.items()}, missing=missing)


def set_metrics(rows: pa.Table) -> dict[str, Floats]:
    """Per-row values of every metric of one set, in the direction that the set gives them.

    Args:
        rows: Rows of one set, from `row_metrics`.

    Returns:
        Values by metric, NaN where a row lacks the metric.
    """
    name = rows["set"][0].as_py()
    values = {metric: rows[metric].to_numpy() for metric in _SET_METRICS if metric in rows.column_names}
    if role(name) != "real":
        values.pop("normalized_probability", None)
    if "truth_ratio" in values:
        toward_unknown = role(name) in ("forget", "holdout")
        values["truth_ratio"] = folded(values["truth_ratio"]) if toward_unknown else margin(values["truth_ratio"])
    if "keyword_accuracy" in values:
        tasks = np.asarray(rows["task"])
        for task in np.unique(tasks[tasks != "mcq"].astype(str)):
            values[f"keyword_accuracy_{task}"] = np.where(tasks == task, values["keyword_accuracy"], np.nan)
    return values


def _cells(rows: pa.Table) -> dict[tuple[str, str], dict[str, Estimate]]:
    cells = {}
    for name, of_set in _groups(rows, "set"):
        by_modality = dict(_groups(of_set, "modality"))
        for modality, part in by_modality.items():
            cells[name, modality] = _estimates.means(set_metrics(part), f"{name} {modality}")
        only = next(iter(by_modality)) if len(by_modality) == 1 else None
        cells[name, "all"] = cells[name, only] if only else _estimates.means(set_metrics(of_set), f"{name} all")
    return cells


def _groups(rows: pa.Table, column: str) -> Iterator[tuple[str, pa.Table]]:
    for value in sorted(pc.unique(rows[column]).to_pylist()):
        yield value, rows.filter(pc.equal(rows[column], value))


def _of_benchmark(rows: pa.Table, wanted: Benchmark) -> pa.Table:
    names = [name for name in pc.unique(rows["set"]).to_pylist() if name in wanted.sets or role(name) in wanted.sets]
    if not names:
        raise ValueError(f"the evidence has none of the benchmark's sets: {', '.join(wanted.sets)}.")
    return rows.filter(pc.is_in(rows["set"], value_set=pa.array(names)))


def _aggregates(cells: _summary.Cells, wanted: Mapping[str, Aggregate]) -> tuple[dict[str, Estimate], dict[str, str]]:
    outcomes = {name: _summary.aggregate(cells, each) for name, each in wanted.items()}
    found = {name: each for name, each in outcomes.items() if isinstance(each, Estimate)}
    return found, {name: each for name, each in outcomes.items() if isinstance(each, str)}


def _forget_quality(rows: pa.Table, retrained: Evidence | None) -> tuple[dict[str, Estimate], dict[str, str]]:
    if retrained is None:
        return {}, {"forget_quality": "no evidence on a retrained model was given"}
    part = _summary.forget_part(retrained)
    if part is None:
        return {}, {"forget_quality": "the retrained model's evidence has no forget set"}
    found = _summary.forget_qualities(rows, row_metrics(part))
    reason = "no row of a forget set has both a paraphrased and wrong answers"
    return found, {} if found else {"forget_quality": reason}


def _membership(rows: pa.Table) -> tuple[dict[str, Estimate], dict[str, str]]:
    found = _summary.memberships(rows)
    reason = "the evidence has not both a forget and a holdout set"
    return found, {name: reason for name in _summary.ATTACK_NAMES.values() if name not in found}
