"""Comparison of models: their numbers side by side, and their differences as a table."""

from collections.abc import Mapping
from typing import Literal

from unlearn_metrics._compute import Results
from unlearn_metrics._estimates import Number
from unlearn_metrics._paired import Differences
from unlearn_metrics._tabulate import ABSENT, FORMATS, Cell
from unlearn_metrics.benchmarks import role

Format = Literal["terminal", "markdown", "latex"]

SIGNIFICANCE = 0.05
_REFERENCE = "retrained"
_OF_FORGET_SETS = ("clear_forget", "clear_forget_no_rouge")
_LOWER = ("forget_quality_statistic", *_OF_FORGET_SETS)


def compare(results_by_name: Mapping[str, Results], format: Format = "terminal") -> str:  # noqa: A002
    """The numbers of several models side by side, with intervals, the best of each line marked.

    Best is the highest on what is to be kept. On forget sets (and of `clear_forget`) it is what comes closest to the
    model named `retrained`, or else the lowest (the highest truth ratio). A membership area is best at the retrained
    model's, or else at 0.5, privacy leakage at 0. On a holdout set nothing is better or worse. `retrained` itself is
    never marked, nor is a line on which all models are equal.

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


def differences_table(
    differences: Differences,
    adjusted_p: Mapping[str, Mapping[str, float]],
    format: Format = "terminal",  # noqa: A002
) -> str:
    """Differences as a table: interval, p-value, the same adjusted, and whether that is significant at 5 %.

    Args:
        differences: What `paired` gives.
        adjusted_p: P-values by set and metric, adjusted for all comparisons that are shown together.
        format: `terminal`, `markdown` or `latex`.
    """
    rows = []
    for name, metrics in differences.items():
        for metric in sorted(metrics):
            each, p = metrics[metric], adjusted_p[name][metric]
            interval = f"{each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}]"
            verdict = "yes" if p < SIGNIFICANCE else "no"
            cells = [interval, f"{each.p:.3g}", f"{p:.3g}", verdict]
            rows.append([Cell(f"{name} {metric} (n={each.n})"), *map(Cell, cells)])
    return FORMATS[format](["metric", "difference", "p", "adjusted p", "significant"], rows)


def differences_text(
    differences: Mapping[str, Differences],
    adjusted_p: Mapping[str, Mapping[str, Mapping[str, float]]],
    first: str,
    format: Format = "terminal",  # noqa: A002
) -> str:
    """A table of differences for each model but the first, and how many comparisons the p-values are adjusted for."""
    parts = [
        f"\n{name} minus {first}, on the same rows\n\n{differences_table(sets, adjusted_p[name], format)}"
        for name, sets in differences.items()
    ]
    count = sum(len(metrics) for sets in differences.values() for metrics in sets.values())
    if count:
        parts.append(f"\np adjusted for {count} comparisons (Holm); significant below {SIGNIFICANCE}.")
    return "\n".join(parts)


def subjects_table(results: Results, format: Format = "terminal") -> str:  # noqa: A002
    """The numbers of each subject as a table: subjects down, metrics across, texts and images apart.

    Args:
        results: Results of `compute` with `by_subject=True`.
        format: `terminal`, `markdown` or `latex`.
    """
    lines = {
        f"{name} {subject} {modality}": metrics
        for name, subjects in results.get("by_subject", {}).items()
        for subject, modalities in subjects.items()
        for modality, metrics in modalities.items()
        if modality != "all" or len(modalities) > 2
    }
    if not lines:
        return "no row names a subject, so there is nothing to show by subject."
    columns = list(dict.fromkeys(metric for metrics in lines.values() for metric in metrics))
    rows = [
        [Cell(title), *(Cell(_short(metrics[each]["value"]) if each in metrics else ABSENT) for each in columns)]
        for title, metrics in lines.items()
    ]
    return FORMATS[format](["subject", *columns], rows)


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
    ideal = _ideal(set_name, metric, values.get(_REFERENCE))
    if ideal is not None:
        score = {name: -abs(value - ideal) for name, value in contest.items()}
    else:
        sign = -1 if metric in _LOWER or (role(set_name) == "forget" and metric != "truth_ratio") else 1
        score = {name: sign * value for name, value in contest.items()}
    return {name for name, value in score.items() if value == max(score.values())}


def _ideal(set_name: str, metric: str, reference: float | None) -> float | None:
    """The value to come close to, or None where lower or higher is better."""
    if metric.startswith("privleak"):
        return 0.0
    if metric.endswith("_auc"):
        return 0.5 if reference is None else reference
    return reference if role(set_name) == "forget" or metric in _OF_FORGET_SETS else None


def _number_text(number: Number | None) -> str:
    if number is None:
        return ABSENT
    value, low, high = (
        None if each is None else _short(each) for each in (number["value"], number["low"], number["high"])
    )
    return f"{value}" if low is None else f"{value} [{low}, {high}]"


def _short(value: float) -> str:
    return f"{value:.3e}" if 0 < abs(value) < 1e-3 else f"{value:.3f}"
