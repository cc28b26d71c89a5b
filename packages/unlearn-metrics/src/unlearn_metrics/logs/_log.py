"""What a log is read into, and the checks of its numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from unlearn_metrics._arrow import floats
from unlearn_metrics._row_table import METRICS
from unlearn_metrics.functional._inputs import Floats

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Log:
    """The rows of an evaluation log; `compute`, `compare` and `paired` take it in the place of evidence.

    Attributes:
        rows: Table as `row_metrics` gives it, each metric null where the log lacks it, and with a column `answer`: the
            right answer, by which rows of two logs are told to be the same. Subjects are null, logs name none.
        source: Format and path.
    """

    rows: pa.Table
    source: str


def set_rows(name: str, columns: Mapping[str, Floats], ids: Sequence[str], answers: Sequence[str | None]) -> pa.Table:
    """The rows of one set, all of them questions and answers in text."""
    n = len(ids)
    identity = {"set": [name] * n, "id": ids, "subject": [None] * n, "task": ["qa"] * n, "modality": ["text"] * n}
    metrics = {metric: floats(columns.get(metric, np.full(n, np.nan))) for metric in METRICS}
    texts = {each: pa.array(values, pa.string()) for each, values in (identity | {"answer": answers}).items()}
    return pa.table(texts | metrics)


def ids_of(values: Mapping[str, Values], where: str) -> list[str]:
    """The ids that all columns share, in their order."""
    (first, expected), *others = ((name, list(each)) for name, each in values.items())
    if not expected:
        raise ValueError(f"{where}: `{first}` holds no rows. Evaluate at least one row.")
    for name, found in others:
        if found != expected:
            raise ValueError(
                f"{where}: expected `{name}` to have the {len(expected)} rows of `{first}`, found {len(found)}"
                f"{'' if len(found) != len(expected) else ' others'}. The log is cut short or of mixed runs."
            )
    return expected


def numbers(
    values: Iterable[Any],
    where: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    null: bool = False,
    each: str = "row",
) -> Floats:
    """Logged numbers as float64, finite and from `low` to `high`; where `null` is allowed, it becomes NaN.

    An error counts the values from 0, and calls one of them what `each` says.
    """
    checked = list(values)
    for row, value in enumerate(checked):
        if null and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not _within(value, low, high):
            raise ValueError(f"{where}, {each} {row}: expected {_range(low, high)}, found {value!r}.")
    return np.array(checked, dtype=np.float64)


def _within(value: float, low: float, high: float) -> bool:
    """Also false for infinity, which JSON spells 1e999."""
    return low <= value <= high and abs(value) < math.inf


def _range(low: float, high: float) -> str:
    if math.isinf(low):
        return "a finite number"
    return f"a finite number of at least {low:g}" if math.isinf(high) else f"a number from {low:g} to {high:g}"
