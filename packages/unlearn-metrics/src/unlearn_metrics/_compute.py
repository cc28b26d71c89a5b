"""From evidence to numbers: every set, every modality, every metric, and the numbers over sets."""

from collections.abc import Iterator, Mapping
from typing import NotRequired, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics._arrow import is_one_of
from unlearn_metrics._cells import SET_METRICS, Cells, cells_of, subjects_of
from unlearn_metrics._estimates import Estimate, Number, Unit
from unlearn_metrics._forget_quality import QUALITIES, forget_qualities
from unlearn_metrics._membership import LEAKAGES, leakages, memberships
from unlearn_metrics._rows import row_metrics
from unlearn_metrics._same_rows import check_same
from unlearn_metrics._summary import NO_TARGET, aggregates
from unlearn_metrics.benchmarks import AGGREGATES, Benchmark, role
from unlearn_metrics.benchmarks import benchmark as benchmark_named
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.logs import Log

NOT_IN_LOG = "not in this log"
_NO_RETRAINED = "no evidence on a retrained model was given"

Found = tuple[dict[str, Estimate], dict[str, str]]


class Results(TypedDict):
    """The numbers of one model, ready for JSON.

    `sets` is {set: {modality: {metric: number}}} with the modalities `text`, `image` and always `all`; `summary` is
    {name: number}; a number is {"value", "low", "high", "n"}. What the evidence cannot give is absent, and `missing`
    says of numbers over sets, of what a benchmark reports and of what a log lacks why: {name: reason}. `by_subject`,
    where it was asked for, is {set: {subject: {modality: {metric: number}}}}.
    """

    sets: dict[str, dict[str, dict[str, Number]]]
    summary: dict[str, Number]
    missing: dict[str, str]
    by_subject: NotRequired[dict[str, dict[str, dict[str, dict[str, Number]]]]]


def compute(
    evidence: Evidence | Log,
    retrained: Evidence | Log | None = None,
    *,
    target: Evidence | Log | None = None,
    benchmark: str | None = None,
    by_subject: bool = False,
    resample: Unit = "subjects",
) -> Results:
    """Every metric that the evidence can give, with intervals; the order of rows changes nothing.

    Of the rows of a set, those of task `mcq` count for `mcq_accuracy` alone, all others for everything else, those of
    task `cloze` for `cloze_accuracy` as well. The truth ratio is mean min(R, 1/R) on forget and holdout sets and mean
    max(0, 1 - R) elsewhere. `keyword_accuracy` comes by task as well, as `keyword_accuracy_<task>`.
    `normalized_probability` is given on the real sets alone. Where a row has several samples, `leak_at_<k>` is the
    chance that one of k says all keywords. Where a set has texts and images of the same subjects,
    `<score>_consistency` says how well the two agree.

    Intervals hold 95 % of the values over 1000 resamples within each set. Subjects are drawn with all their rows, for
    the rows of one person are no independent evidence (where there is but one subject, or none is named, rows are
    drawn). With fewer than about ten subjects, take intervals for a rough guide.

    Args:
        evidence: Evidence on the model, or a log.
        retrained: The same on the model that never saw the forget set, on the same rows, for forget quality and
            privacy leakage.
        target: The same on the model before unlearning, on the same rows, for what was forgotten and retained of it.
        benchmark: Name of a benchmark (see `unlearn_metrics.benchmarks`), to get what it reports and nothing else.
        by_subject: Whether to give the numbers of each subject as well.
        resample: `subjects`, or `rows` to draw every row on its own, as other toolkits do.

    Returns:
        The numbers.

    Raises:
        ValueError: If the retrained model or the target has other rows, there is no such benchmark, the evidence has
            none of its sets, or `resample` is unknown.
    """
    wanted = benchmark_named(benchmark) if benchmark else None
    rows = row_metrics(evidence)
    shown = _of_benchmark(rows, wanted) if wanted else rows
    cells = cells_of(shown, resample)
    before = _target_cells(shown, target, resample) if target else None
    found, missing = aggregates(cells, before, wanted.aggregates if wanted else AGGREGATES)
    for more_found, more_missing in _against(rows, retrained, resample):
        found, missing = found | more_found, missing | more_missing
    if isinstance(evidence, Log):
        missing = {name: _of_log(reason) for name, reason in missing.items()}
    missing |= _lacking(cells, wanted, evidence)
    if wanted:
        names = {*wanted.aggregates, *wanted.summary, *wanted.metrics}
        found = {name: each for name, each in found.items() if name in names}
        missing = {name: reason for name, reason in missing.items() if name in names} | wanted.elsewhere
    numbers = {key: _numbers(metrics, wanted) for key, metrics in cells.items()}
    sets: dict[str, dict[str, dict[str, Number]]] = {}
    for (name, modality), of_cell in numbers.items():
        sets.setdefault(name, {})[modality] = of_cell
    results = Results(sets=sets, summary={name: each.number() for name, each in found.items()}, missing=missing)
    if by_subject:
        results["by_subject"] = _subjects(shown, wanted)
    return results


def _target_cells(rows: pa.Table, target: Evidence | Log, unit: Unit) -> Cells:
    """The target's metrics on the same sets; other sets of its evidence do not matter."""
    before = row_metrics(target)
    before = before.filter(is_one_of(before["set"], pc.unique(rows["set"]).to_pylist()))
    check_same(rows, before, ["set", "id"], "the target's evidence")
    return cells_of(before, unit)


def _against(rows: pa.Table, retrained: Evidence | Log | None, unit: Unit) -> Iterator[Found]:
    """Membership, and what takes a retrained model."""
    yield memberships(rows, unit)
    if retrained is None:
        yield {}, dict.fromkeys((*QUALITIES, *LEAKAGES), _NO_RETRAINED)
        return
    others = row_metrics(retrained)
    yield forget_qualities(rows, others, unit)
    yield leakages(rows, others, unit)


def _of_benchmark(rows: pa.Table, wanted: Benchmark) -> pa.Table:
    names = [name for name in pc.unique(rows["set"]).to_pylist() if name in wanted.sets or role(name) in wanted.sets]
    if not names:
        raise ValueError(f"the evidence has none of the benchmark's sets: {', '.join(wanted.sets)}.")
    return rows.filter(is_one_of(rows["set"], names))


def _lacking(cells: Cells, wanted: Benchmark | None, evidence: Evidence | Log) -> dict[str, str]:
    """The metrics that no set has, of those that a benchmark reports or a whole log would hold."""
    is_log = isinstance(evidence, Log)
    expected = wanted.metrics if wanted else SET_METRICS if is_log else ()
    reason = NOT_IN_LOG if is_log else "no row has what it takes"
    return {name: reason for name in expected if not any(name in metrics for metrics in cells.values())}


def _of_log(reason: str) -> str:
    """The reason as one of this log, unless it is about another model."""
    return reason if "retrained model" in reason or reason == NO_TARGET else f"{NOT_IN_LOG} ({reason})"


def _numbers(metrics: Mapping[str, Estimate], wanted: Benchmark | None) -> dict[str, Number]:
    """What to show of a cell; OpenUnlearning's extraction strength only where it is asked for or the only one."""
    hidden = "extraction_strength_ou" if "extraction_strength" in metrics else None
    names = [name for name in metrics if (name in wanted.metrics if wanted else name != hidden)]
    return {name: metrics[name].number() for name in names}


def _subjects(rows: pa.Table, wanted: Benchmark | None) -> dict[str, dict[str, dict[str, dict[str, Number]]]]:
    """The same of each subject, its rows resampled."""
    found: dict[str, dict[str, dict[str, dict[str, Number]]]] = {}
    for name, subject, part in subjects_of(rows):
        cells = cells_of(part, "rows")
        found.setdefault(name, {})[subject] = {
            modality: _numbers(each, wanted) for (_, modality), each in cells.items()
        }
    return found
