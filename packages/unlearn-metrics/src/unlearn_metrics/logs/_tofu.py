"""TOFU's `eval_log_aggregated.json`: {file of a set: {column: {row: value}}}."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from unlearn_metrics import functional as F
from unlearn_metrics._score_rows import by_count
from unlearn_metrics.functional._inputs import Ragged
from unlearn_metrics.functional._rouge import has_words
from unlearn_metrics.logs._log import Values, ids_of, numbers, set_rows

#: Names of the sets in the log, and here.
SETS = {
    "eval_log_forget.json": "forget",
    "eval_log.json": "retain",
    "eval_real_author_wo_options.json": "real_authors",
    "eval_real_world_wo_options.json": "world_facts",
}
COLUMNS = ("avg_gt_loss", "avg_paraphrased_loss", "average_perturb_loss", "rougeL_recall", "generated_text")


def is_tofu(content: Mapping[str, Any]) -> bool:
    """Whether the log has one of TOFU's sets."""
    return any(name in content for name in SETS)


def read_tofu(content: Mapping[str, Any], where: str) -> pa.Table:
    """The rows of all sets of the log.

    Probabilities and truth ratios follow from the logged losses, as TOFU's own aggregation has them; ROUGE is the
    logged one.
    """
    parts = {SETS[name]: part for name, part in content.items() if name in SETS}
    return pa.concat_tables(_set(name, part, f"{where}: {name}") for name, part in sorted(parts.items()))


def _set(name: str, part: Any, where: str) -> pa.Table:
    columns = _columns(part, where)
    ids = ids_of(columns, where)
    loss = numbers(columns["avg_gt_loss"].values(), f"{where}.avg_gt_loss", low=0)
    found = {"loss": loss, "probability": F.probability(loss)}
    wrong = _wrong(columns["average_perturb_loss"], where) if "average_perturb_loss" in columns else None
    if wrong:
        found["perturbed_loss"] = wrong.means()
        found["normalized_probability"] = by_count(F.normalized_probability, loss, wrong)
    if "avg_paraphrased_loss" in columns:
        right = numbers(columns["avg_paraphrased_loss"].values(), f"{where}.avg_paraphrased_loss", low=0)
        found["paraphrase_loss"] = right
        if wrong:
            found["truth_ratio"] = by_count(F.truth_ratio, right, wrong)
    answers = _answers(columns.get("generated_text", {}), len(ids), where)
    if "rougeL_recall" in columns:
        recall = numbers(columns["rougeL_recall"].values(), f"{where}.rougeL_recall", low=0, high=1)
        # A reference without words has no recall; the log says 0 there.
        found["rouge_l_recall"] = np.where([each is None or has_words(each) for each in answers], recall, np.nan)
    return set_rows(name, found, ids, answers)


def _columns(part: Any, where: str) -> dict[str, Values]:
    if not isinstance(part, Mapping) or not isinstance(part.get("avg_gt_loss"), Mapping):
        found = ", ".join(part) if isinstance(part, Mapping) else type(part).__name__
        raise ValueError(f"{where}: expected the columns {', '.join(COLUMNS)}, found {found or 'none'}.")
    columns = {name: part[name] for name in COLUMNS if name in part}
    for name, values in columns.items():
        if not isinstance(values, Mapping):
            raise ValueError(f"{where}.{name}: expected an object of rows, found {type(values).__name__}.")
    return columns


def _wrong(values: Values, where: str) -> Ragged:
    """The losses of the wrong answers, row by row."""
    for row, losses in values.items():
        if not isinstance(losses, list) or not losses:
            raise ValueError(f"{where}.average_perturb_loss, row {row}: expected a list of losses, found {losses!r}.")
    place = f"{where}.average_perturb_loss, row"
    wrong = [numbers(losses, f"{place} {row}", low=0, each="answer") for row, losses in values.items()]
    return Ragged(np.concatenate(wrong), np.array([losses.size for losses in wrong]), False)


def _answers(texts: Values, n: int, where: str) -> list[str | None]:
    for row, each in texts.items():
        if not isinstance(each, list) or len(each) != 3 or not all(isinstance(text, str) for text in each):
            raise ValueError(f"{where}.generated_text, row {row}: expected [question, generated, answer].")
    return [each[2] for each in texts.values()] or [None] * n
