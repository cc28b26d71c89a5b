"""Sets by modality, and subjects within them: the mean of every metric of each."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics import _estimates
from unlearn_metrics._arrow import is_one_of
from unlearn_metrics._consistency import consistency
from unlearn_metrics._estimates import Estimate, Unit
from unlearn_metrics.benchmarks import role
from unlearn_metrics.functional._inputs import Floats
from unlearn_metrics.functional._truth_ratio import folded, margin

#: Estimates by set, modality and metric.
Cells = dict[tuple[str, str], dict[str, Estimate]]

#: Metrics of the row table that have a mean over a set; losses and scores of membership attacks have none worth it.
SET_METRICS = (
    "probability",
    "normalized_probability",
    "rouge_l_recall",
    "keyword_accuracy",
    "keyword_em",
    "truth_ratio",
    "exact_memorization",
    "extraction_strength",
    "extraction_strength_ou",
    "mcq_accuracy",
    "cloze_accuracy",
)


def set_metrics(rows: pa.Table) -> dict[str, Floats]:
    """Per-row values of every metric of one set, in the direction that the set gives them.

    Args:
        rows: Rows of one set, from `row_metrics`.

    Returns:
        Values by metric, NaN where a row lacks the metric.
    """
    name = rows["set"][0].as_py()
    leaks = [each for each in rows.column_names if each.startswith("leak_at_")]
    values = {metric: rows[metric].to_numpy() for metric in (*SET_METRICS, *leaks)}
    if role(name) != "real":
        values.pop("normalized_probability")
    toward_unknown = role(name) in ("forget", "holdout")
    values["truth_ratio"] = (folded if toward_unknown else margin)(values["truth_ratio"])
    tasks = np.asarray(rows["task"]).astype(str)
    for task in np.unique(tasks[tasks != "mcq"]):
        values[f"keyword_accuracy_{task}"] = np.where(tasks == task, values["keyword_accuracy"], np.nan)
    return values


def cells_of(rows: pa.Table, unit: Unit) -> Cells:
    """The metrics of each set in text, in images and in all rows; in all, the consistency of the two as well."""
    cells: Cells = {}
    for name, of_set in groups(rows, "set"):
        by_modality = dict(groups(of_set, "modality"))
        for modality, part in by_modality.items():
            cells[name, modality] = _means(part, unit, f"{name} {modality}")
        if len(by_modality) == 1:
            cells[name, "all"] = cells[name, next(iter(by_modality))]
        else:
            cells[name, "all"] = _means(of_set, unit, f"{name} all") | consistency(of_set)
    return cells


def subjects_of(rows: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Set, subject and rows of each subject of each set; rows without a subject are left out."""
    for name, of_set in groups(rows.filter(pc.is_valid(rows["subject"])), "set"):
        for subject, part in groups(of_set, "subject"):
            yield name, subject, part


def groups(rows: pa.Table, column: str) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each value of a column, in the order of the values."""
    for value in sorted(pc.unique(rows[column]).to_pylist()):
        yield value, rows.filter(is_one_of(rows[column], [value]))


def _means(rows: pa.Table, unit: Unit, name: str) -> dict[str, Estimate]:
    return _estimates.means(set_metrics(rows), _estimates.draw(rows, unit, name))
