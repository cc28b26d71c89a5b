"""Comparison of models: their numbers side by side, and their differences on the same rows."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics._compute import Results, set_metrics
from unlearn_metrics._estimates import Number
from unlearn_metrics._rows import row_metrics
from unlearn_metrics._tabulate import ABSENT, FORMATS, Cell
from unlearn_metrics.benchmarks import role
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.functional import PairedDifference, paired_difference

Format = Literal["terminal", "markdown", "latex"]
Differences = dict[str, dict[str, PairedDifference]]

SIGNIFICANCE = 0.05
_REFERENCE = "retrained"
_LOWER = ("forget_quality_statistic", "clear_forget", "clear_forget_no_rouge")


def compare(results_by_name: Mapping[str, Results], format: Format = "terminal") -> str:  # noqa: A002
    """The numbers of several models side by side, with intervals, the best of each line marked.

    Best is the highest on what is to be kept. On forget sets it is what comes closest to the model named `retrained`,
    or else the lowest (the highest truth ratio); a membership area is best at 0.5. On a holdout set nothing is better
    or worse. `retrained` itself is never marked, nor is a line on which all models are equal.

    Args:
        results_by_name: Results of `compute` by name of the model.
        format: `terminal`, `markdown` or `latex`.

    Returns:
        The table: metrics down, models across.

    Raises:
        ValueError: If there are no results, or the format is unknown.

    Example:
        >>> number = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
        >>> results = {"sets": {"retain90": {"all": {"probability": number}}}, "summary": {}, "missing": {}}
        >>> print(compare({"npo": results}, format="markdown"))
        | metric | npo |
        | --- | ---: |
        | retain90 all probability (n=10) | 0.500 [0.400, 0.600] |
    """
    if not results_by_name:
        raise ValueError("`results_by_name` is empty, so there is nothing to compare. Give at least one.")
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(FORMATS)}, got {format!r}.")
    lines = {name: _lines(results) for name, results in results_by_name.items()}
    keys = dict.fromkeys(key for each in lines.values() for key in each)
    rows = [_row(key, {name: each.get(key) for name, each in lines.items()}) for key in keys]
    return FORMATS[format](["metric", *results_by_name], rows)


def paired(evidence: Evidence, other: Evidence) -> Differences:
    """Differences between two models on the same rows, `evidence` minus `other`.

    Args:
        evidence: Evidence on one model.
        other: Evidence on another, on the same rows.

    Returns:
        {set: {metric: difference}}, for the metrics that both give, on the rows that have them, two at least.

    Raises:
        ValueError: If they hold other rows.
    """
    ours, theirs = row_metrics(evidence), row_metrics(other)
    _check_same_rows(ours, theirs)
    differences: Differences = {}
    for name in sorted(pc.unique(ours["set"]).to_pylist()):
        first, second = (set_metrics(rows.filter(pc.equal(rows["set"], name))) for rows in (ours, theirs))
        differences[name] = {}
        for metric in first.keys() & second.keys():
            both = ~np.isnan(first[metric]) & ~np.isnan(second[metric])
            if both.sum() >= 2:
                differences[name][metric] = paired_difference(first[metric][both], second[metric][both])
    return differences


def differences_table(differences: Differences, format: Format = "terminal") -> str:  # noqa: A002
    """What `paired` gives as a table: difference, interval, p-value, and whether it is significant at 5 %."""
    rows = []
    for name, metrics in differences.items():
        for metric in sorted(metrics):
            each = metrics[metric]
            interval = f"{each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}]"
            verdict = "yes" if each.p < SIGNIFICANCE else "no"
            rows.append([Cell(f"{name} {metric} (n={each.n})"), Cell(interval), Cell(f"{each.p:.3g}"), Cell(verdict)])
    return FORMATS[format](["metric", "difference", "p", "significant"], rows)


def _lines(results: Results) -> dict[tuple[str, str, str], Number]:
    lines: dict[tuple[str, str, str], Number] = {}
    for name, modalities in results["sets"].items():
        for modality, metrics in modalities.items():
            if modality == "all" or len(modalities) > 2:
                lines |= {(name, modality, metric): number for metric, number in metrics.items()}
    return lines | {("", "", name): number for name, number in results["summary"].items()}


def _row(key: tuple[str, str, str], numbers: Mapping[str, Number | None]) -> list[Cell]:
    counts = {number["n"] for number in numbers.values() if number}
    title = " ".join(part for part in key if part) + f" (n={'/'.join(map(str, sorted(counts)))})"
    best = _best(key, {name: number["value"] for name, number in numbers.items() if number})
    return [Cell(title), *(Cell(_number_text(number), name in best) for name, number in numbers.items())]


def _best(key: tuple[str, str, str], values: Mapping[str, float]) -> set[str]:
    set_name, _, metric = key
    contest = {name: value for name, value in values.items() if name != _REFERENCE}
    if len(set(contest.values())) < 2 or role(set_name) == "holdout":
        return set()
    if metric.endswith("_auc"):
        score = {name: -abs(value - 0.5) for name, value in contest.items()}
    elif role(set_name) == "forget" and _REFERENCE in values:
        score = {name: -abs(value - values[_REFERENCE]) for name, value in contest.items()}
    else:
        sign = -1 if metric in _LOWER or (role(set_name) == "forget" and metric != "truth_ratio") else 1
        score = {name: sign * value for name, value in contest.items()}
    return {name for name, value in score.items() if value == max(score.values())}


def _number_text(number: Number | None) -> str:
    if number is None:
        return ABSENT
    value, low, high = (
        None if each is None else _short(each) for each in (number["value"], number["low"], number["high"])
    )
    return f"{value}" if low is None else f"{value} [{low}, {high}]"


def _short(value: float) -> str:
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.3f}"


def _check_same_rows(ours: pa.Table, theirs: pa.Table) -> None:
    def keys(rows: pa.Table) -> Sequence[Any]:
        return list(zip(rows["set"].to_pylist(), rows["id"].to_pylist(), strict=True))

    if differing := sorted(set(keys(ours)) ^ set(keys(theirs))):
        first = ", ".join("/".join(key) for key in differing[:3])
        raise ValueError(
            f"the two hold other rows: {len(differing)} are in one of them alone, first {first}. "
            f"Score both models on the same rows."
        )
