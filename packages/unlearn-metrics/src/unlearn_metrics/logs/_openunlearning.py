"""OpenUnlearning's `TOFU_EVAL.json`: {metric: {"agg_value": …, "value_by_index": {row: {…}}}}."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from unlearn_metrics.functional._inputs import Floats
from unlearn_metrics.functional._rouge import has_words
from unlearn_metrics.logs._log import Values, ids_of, numbers, set_rows

#: Names of the sets in the log, and here.
SETS = {"forget": "forget", "retain": "retain", "ra": "real_authors", "wf": "world_facts"}


class _Column(NamedTuple):
    """A metric of ours in the log: the metric there, the key of a row, the bounds, and the sign it has there."""

    metric: str
    logged: str
    key: str
    low: float = -np.inf
    high: float = np.inf
    sign: int = 1


#: `{}` stands for the set's name in the log.
_COLUMNS = (
    _Column("probability", "{}_Q_A_Prob", "prob", 0, 1),
    _Column("loss", "{}_Q_A_Prob", "avg_loss", 0),
    _Column("normalized_probability", "{}_Q_A_Prob_normalised", "prob", 0, 1),
    _Column("rouge_l_recall", "{}_Q_A_ROUGE", "rougeL_recall", 0, 1),
    _Column("truth_ratio", "{}_Truth_Ratio", "score", 0),
    _Column("paraphrase_loss", "{}_Q_A_PARA_Prob", "avg_loss", 0),
    _Column("perturbed_loss", "{}_Q_A_PERT_Prob", "avg_loss", 0),
)
_FORGET_COLUMNS = (
    _Column("truth_ratio", "forget_truth_ratio", "score", 0),
    _Column("exact_memorization", "exact_memorization", "score", 0, 1),
    # Its variant of extraction strength, which is never 0; ours cannot be told from it.
    _Column("extraction_strength_ou", "extraction_strength", "score", 0, 1),
)
#: Scores of the attacks, of forgotten and held-out rows; there, members score lower.
_ATTACKS = (
    _Column("loss", "mia_loss", "score", 0),
    _Column("min_k", "mia_min_k", "score", 0, sign=-1),
    _Column("min_k_pp", "mia_min_k_plus_plus", "score", sign=-1),
    _Column("zlib_ratio", "mia_zlib", "score", 0),
    _Column("grad_norm", "mia_gradnorm", "score", 0),
    _Column("reference", "mia_reference", "score"),
)


def is_openunlearning(content: Mapping[str, Any]) -> bool:
    """Whether the log has one of the metrics of OpenUnlearning's TOFU suite."""
    names = {each.logged.format(name) for name in SETS for each in _COLUMNS}
    return not names.isdisjoint(name for name, part in content.items() if isinstance(part, Mapping))


def read_openunlearning(content: Mapping[str, Any], where: str) -> pa.Table:
    """The rows of all sets of the log, each value as it is logged.

    Its truth ratios have an epsilon in the fraction, and its probabilities went through float32: recomputed from the
    losses beside them, they would not add up to the log's own aggregates.
    """
    tables = []
    for logged, name in SETS.items():
        columns = dict(_parts(content, logged, where))
        if columns:
            tables.append(_set(name, columns, where))
    holdout = {each: content[each.logged]["holdout"] for each in _ATTACKS if _has_part(content, each.logged, "holdout")}
    if holdout:
        tables.append(_set("holdout", {each: _rows(part, each, where) for each, part in holdout.items()}, where))
    return pa.concat_tables(tables)


def _parts(content: Mapping[str, Any], name: str, where: str) -> Iterator[tuple[_Column, Values]]:
    """The columns of a set that the log has, with their rows."""
    columns = [each._replace(logged=each.logged.format(name)) for each in _COLUMNS]
    for each in [*columns, *(_FORGET_COLUMNS if name == "forget" else ())]:
        if each.logged in content:
            yield each, _rows(content[each.logged], each, where)
    if name == "forget":
        for each in _ATTACKS:
            if _has_part(content, each.logged, "forget"):
                yield each, _rows(content[each.logged]["forget"], each, where)


def _has_part(content: Mapping[str, Any], metric: str, part: str) -> bool:
    return isinstance(content.get(metric), Mapping) and part in content[metric]


def _rows(part: Any, column: _Column, where: str) -> Values:
    rows = part.get("value_by_index") if isinstance(part, Mapping) else None
    if not isinstance(rows, Mapping):
        raise ValueError(f"{where}: expected `value_by_index` in `{column.logged}`, found {_kind(part)}.")
    for row, each in rows.items():
        if not isinstance(each, Mapping) or column.key not in each:
            raise ValueError(f"{where}: expected `{column.key}` in `{column.logged}`, row {row}, found {_kind(each)}.")
    return rows


def _kind(value: Any) -> str:
    return ", ".join(map(str, value)) or "an empty object" if isinstance(value, Mapping) else f"{value!r:.60}"


def _set(name: str, columns: Mapping[_Column, Values], where: str) -> pa.Table:
    ids = ids_of({each.logged: rows for each, rows in columns.items()}, where)
    found = {each.metric: _numbers(rows, each, where) for each, rows in columns.items()}
    texts: Values = next((rows for each, rows in columns.items() if each.metric == "rouge_l_recall"), {})
    answers = [each.get("ground_truth") for each in texts.values()] or [None] * len(ids)
    if texts:
        # A reference without words has no recall; the log says 0 there.
        measurable = [not isinstance(each, str) or has_words(each) for each in answers]
        found["rouge_l_recall"] = np.where(measurable, found["rouge_l_recall"], np.nan)
    return set_rows(name, found, ids, answers)


def _numbers(rows: Values, column: _Column, where: str) -> Floats:
    place = f"{where}: `{column.logged}`, `{column.key}`"
    values = [each[column.key] for each in rows.values()]
    if column.metric != "perturbed_loss":
        return column.sign * numbers(values, place, low=column.low, high=column.high, null=True)
    means = []
    for row, losses in zip(rows, values, strict=True):
        answers = losses if isinstance(losses, list) else [losses]
        wrong = numbers(answers, f"{place}, row {row}", low=0, null=True, each="answer")
        means.append(wrong.mean() if wrong.size else np.nan)
    return np.array(means)
